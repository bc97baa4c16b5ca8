"""Access loggers that send entries to a service, and what they share.

`grpc_log`         envoy.access_loggers.http_grpc, tcp_grpc
`open_telemetry`   envoy.access_loggers.open_telemetry
`fluentd`          envoy.access_loggers.fluentd
`batch`            entries gathered and sent, over a stream or by calls
`log_entry`        entries of the access log service
`otel_value`       OpenTelemetry values made of formats
`custom_tags`      tags of entries
`identity`         the node that messages name
`msgpack`          MessagePack of JSON values
"""
