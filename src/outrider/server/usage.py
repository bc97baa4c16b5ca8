"""The text of `--help`."""

from __future__ import annotations

from typing import Final

USAGE: Final = """\
USAGE:

   outrider [-c <file>] [options]

With a configuration file of Envoy (v3, YAML, JSON or protobuf) outrider serves what the file says. Without -c it looks
for /etc/envoy/envoy.yaml and /etc/outrider/outrider.yaml; when there is neither it starts an embedded demonstration.

WHERE:

   -c <string>,  --config-path <string>
     Path to configuration file
   --config-yaml <string>
     Inline YAML configuration, merges with the contents of --config-path
   --mode <string>
     One of 'serve' (default; validate configs and then serve traffic normally), 'validate' (validate configs and
     exit) or 'init_only' (initialize and exit).
   --demo
     Run the embedded quick-start configuration with its demonstration upstream
   --unsupported <string>
     What to do about a valid field that this version does not honour: 'reject' (default) or 'warn'
   --concurrency <uint32_t>
     # of workers to run; 0 runs everything in one process
   --cpuset-threads
     Get the default # of workers from cpuset size

   -l <string>,  --log-level <string>
     Log levels: [trace][debug][info][warning|warn][error][critical][off]. Default is [info]
   --component-log-level <string>
     Comma-separated list of component log levels. For example upstream:debug,config:trace
   --log-format <string>
     Log message format in spdlog syntax. Default is "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"
   --log-format-escaped
     Escape c-style escape sequences in the application logs
   --log-stacktrace-single-entry
     Emit the entire stack trace in a single log entry instead of one log call per frame
   --log-path <string>
     Path to logfile

   --service-cluster <string>
     Cluster name
   --service-node <string>
     Node name
   --service-zone <string>
     Zone name
   --local-address-ip-version <string>
     The local IP address version (v4 or v6).
   --admin-address-path <string>
     Admin address path

   --allow-unknown-static-fields
     Allow unknown fields in static configuration
   --allow-unknown-fields
     Allow unknown fields in static configuration (DEPRECATED)
   --reject-unknown-dynamic-fields
     Reject unknown fields in dynamic configuration
   --ignore-unknown-dynamic-fields
     Ignore unknown fields in dynamic configuration
   --skip-deprecated-logs
     Skips the logging of deprecated field warnings
   --disable-extensions <string>
     Comma-separated list of extensions to disable
   --stats-tag <string>  (accepted multiple times)
     This flag provides a universal tag for all stats generated. The format is ``tag:value``. Only alphanumeric values
     are allowed for tag names. For tag values all characters are permitted except for '.' (dot).

   --drain-time-s <uint32_t>
     Hot restart and LDS removal drain time in seconds
   --drain-strategy <string>
     Drain sequence behaviour, one of 'gradual' (default) or 'immediate'.
   --file-flush-interval-msec <uint32_t>
     Interval for log flushing in msec
   --file-flush-min-size-kb <uint32_t>
     Minimum size in KB for log flushing
   --enable-mutex-tracing
     Enable mutex contention tracing functionality
   --enable-core-dump
     Enable core dumps

   --base-id <uint32_t>
     Base ID so that multiple proxies can run on the same host
   --use-dynamic-base-id
     The server chooses a base ID dynamically. Supersedes a static base ID.
   --base-id-path <string>
     Path to which the base ID is written
   --disable-hot-restart
     Disable hot restart functionality
   --restart-epoch <uint32_t>
     Hot restart epoch # (only 0 is supported)
   --parent-shutdown-time-s <uint32_t>
     Hot restart parent shutdown time in seconds
   --skip-hot-restart-on-no-parent
   --skip-hot-restart-parent-stats
     Accepted; they matter to epochs above 0 only
   --hot-restart-version
     Hot restart compatibility version

   --,  --ignore_rest
     Ignores the rest of the labeled arguments following this flag.
   --version
     Displays version information and exits.
   -h,  --help
     Displays usage information and exits.

Not supported by this version, and refused: --enable-fine-grain-logging, --socket-path, --socket-mode.
"""
