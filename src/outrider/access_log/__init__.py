"""Access logs: what is written about each request or connection, and the substitution formatter that headers share.

=====================  ===========================================================
`context`              FormatContext: what a formatter may look at
`operation`            FormatOp: one compiled piece of a format string
`formatter`            parse_format: a format string into a Formatter
`*_ops`                the command operators, by subject
`commands`             the table from command name to operator
`format_string`        envoy.config.core.v3.SubstitutionFormatString
`json_format`          JSON log lines
`access_log`           AccessLog, the registry ACCESS_LOGGERS, create_access_log
`filters`              envoy.config.accesslog.v3.AccessLogFilter
`file_writer`          AccessLogManager: buffered files shared by loggers
`loggers`              the file, stdout and stderr loggers
=====================  ===========================================================
"""
