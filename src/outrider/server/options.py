"""Envoy's command line: flags, meanings and refusals. `USAGE` documents every flag.

Source: `envoy --help` of 1.40 and Envoy documentation, "Command line options".
"""

from __future__ import annotations

import os
from typing import Final

LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")
DEFAULT_LOG_FORMAT: Final = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"

# Names of Envoy's loggers, in the order in which `/logging` lists them.
LOGGER_NAMES: Final = (
    "a2a", "admin", "ai_protocol_manager", "alternate_protocols_cache", "aws", "assert", "backtrace", "basic_auth",
    "cache_filter", "client", "config", "connection", "conn_handler", "compression", "credential_injector",
    "decompression", "dns", "dubbo", "envoy_bug", "ext_authz", "ext_proc", "rocketmq", "file", "filter",
    "forward_proxy", "geolocation", "grpc", "happy_eyeballs", "hc", "health_checker", "http", "http2", "hystrix",
    "init", "io", "jwt", "json_rpc", "kafka", "key_value_store", "lua", "local_rate_limit", "main", "matcher", "mcp",
    "misc", "mongo", "multi_connection", "notification", "oauth2", "quic", "quic_stream", "pool", "rate_limit_quota",
    "rbac", "rds", "redis", "router", "runtime", "stats", "secret", "sse", "tap", "testing", "thrift", "tracing",
    "upstream", "udp", "wasm", "websocket", "golang", "stats_sinks", "dynamic_modules", "ip_tagging",
)  # fmt: skip


class UsageError(Exception):
    """The command line is wrong; the text is for the user."""


class Options:
    """The command line, with Envoy's defaults."""

    def __init__(self) -> None:
        self.base_id = 0
        self.use_dynamic_base_id = False
        self.base_id_path = ""
        # None: as many workers as there are processors. 0: main and the one worker share a process.
        self.concurrency: int | None = None
        self.config_path = ""
        self.config_yaml = ""
        self.allow_unknown_static_fields = False
        self.reject_unknown_dynamic_fields = False
        self.ignore_unknown_dynamic_fields = False
        self.skip_deprecated_logs = False
        self.admin_address_path = ""
        self.local_address_ip_version = "v4"
        self.log_level = "info"
        self.component_log_level = ""
        self.log_format = DEFAULT_LOG_FORMAT
        # Whether the command line gave it: then it wins over `application_log_config`.
        self.log_format_set = False
        self.log_format_escaped = False
        self.log_stacktrace_single_entry = False
        self.log_path = ""
        self.restart_epoch = 0
        self.service_cluster = ""
        self.service_node = ""
        self.service_zone = ""
        self.file_flush_interval_ms = 10_000
        self.file_flush_min_size_kb = 64
        self.file_flush_min_size_set = False
        self.drain_time_s = 600
        self.drain_strategy = "gradual"
        self.parent_shutdown_time_s = 900
        self.mode = "serve"
        self.disable_hot_restart = False
        self.enable_mutex_tracing = False
        self.cpuset_threads = False
        self.disabled_extensions: list[str] = []
        self.skip_hot_restart_on_no_parent = False
        self.skip_hot_restart_parent_stats = False
        self.enable_core_dump = False
        self.stats_tags: list[tuple[str, str]] = []
        # Ours.
        self.unsupported = "reject"
        self.demo = False

    def worker_count(self) -> int:
        """The number of workers; 0 for the inline form."""
        if self.concurrency is not None:
            return self.concurrency
        return available_processors(self.cpuset_threads)

    def component_levels(self) -> list[tuple[str, str]]:
        parts = [part.partition(":") for part in self.component_log_level.split(",")]
        return [(name, level) for name, _, level in parts if name]

    def describe(self) -> dict[str, object]:
        """`command_line_options` of `/server_info`."""
        return {
            "base_id": str(self.base_id),
            "concurrency": max(self.worker_count(), 1),
            "config_path": self.config_path,
            "config_yaml": self.config_yaml,
            "allow_unknown_static_fields": self.allow_unknown_static_fields,
            "admin_address_path": self.admin_address_path,
            "local_address_ip_version": self.local_address_ip_version,
            "log_level": self.log_level,
            "component_log_level": self.component_log_level,
            "log_format": self.log_format,
            "log_path": self.log_path,
            "service_cluster": self.service_cluster,
            "service_node": self.service_node,
            "service_zone": self.service_zone,
            "file_flush_interval": f"{self.file_flush_interval_ms / 1000:g}s",
            "drain_time": f"{self.drain_time_s}s",
            "parent_shutdown_time": f"{self.parent_shutdown_time_s}s",
            "mode": {"serve": "Serve", "validate": "Validate", "init_only": "InitOnly"}[self.mode],
            "disable_hot_restart": self.disable_hot_restart,
            "enable_mutex_tracing": self.enable_mutex_tracing,
            "restart_epoch": self.restart_epoch,
            "cpuset_threads": self.cpuset_threads,
            "reject_unknown_dynamic_fields": self.reject_unknown_dynamic_fields,
            "log_format_escaped": self.log_format_escaped,
            "disabled_extensions": self.disabled_extensions,
            "ignore_unknown_dynamic_fields": self.ignore_unknown_dynamic_fields,
            "use_dynamic_base_id": self.use_dynamic_base_id,
            "base_id_path": self.base_id_path,
            "drain_strategy": "Gradual" if self.drain_strategy == "gradual" else "Immediate",
            "enable_fine_grain_logging": False,
            "socket_path": "@envoy_domain_socket",
            "socket_mode": 0,
            "enable_core_dump": self.enable_core_dump,
            "stats_tag": [f"{name}:{value}" for name, value in self.stats_tags],
            "skip_hot_restart_on_no_parent": self.skip_hot_restart_on_no_parent,
            "skip_hot_restart_parent_stats": self.skip_hot_restart_parent_stats,
            "skip_deprecated_logs": self.skip_deprecated_logs,
            "file_flush_min_size": self.file_flush_min_size_kb if self.file_flush_min_size_set else 0,
            "log_stacktrace_single_entry": self.log_stacktrace_single_entry,
        }


# Flag -> attribute. A value of type int is an unsigned 32-bit number.
TEXT_FLAGS: Final = {
    "--base-id-path": "base_id_path",
    "--config-path": "config_path",
    "--config-yaml": "config_yaml",
    "--admin-address-path": "admin_address_path",
    "--local-address-ip-version": "local_address_ip_version",
    "--log-level": "log_level",
    "--component-log-level": "component_log_level",
    "--log-format": "log_format",
    "--log-path": "log_path",
    "--service-cluster": "service_cluster",
    "--service-node": "service_node",
    "--service-zone": "service_zone",
    "--drain-strategy": "drain_strategy",
    "--mode": "mode",
    "--disable-extensions": "disabled_extensions",
    "--stats-tag": "stats_tags",
    "--unsupported": "unsupported",
}
NUMBER_FLAGS: Final = {
    "--base-id": "base_id",
    "--concurrency": "concurrency",
    "--restart-epoch": "restart_epoch",
    "--file-flush-interval-msec": "file_flush_interval_ms",
    "--file-flush-min-size-kb": "file_flush_min_size_kb",
    "--drain-time-s": "drain_time_s",
    "--parent-shutdown-time-s": "parent_shutdown_time_s",
}
SWITCHES: Final = {
    "--use-dynamic-base-id": "use_dynamic_base_id",
    "--allow-unknown-static-fields": "allow_unknown_static_fields",
    "--allow-unknown-fields": "allow_unknown_static_fields",
    "--reject-unknown-dynamic-fields": "reject_unknown_dynamic_fields",
    "--ignore-unknown-dynamic-fields": "ignore_unknown_dynamic_fields",
    "--skip-deprecated-logs": "skip_deprecated_logs",
    "--log-stacktrace-single-entry": "log_stacktrace_single_entry",
    "--log-format-escaped": "log_format_escaped",
    "--disable-hot-restart": "disable_hot_restart",
    "--enable-mutex-tracing": "enable_mutex_tracing",
    "--cpuset-threads": "cpuset_threads",
    "--enable-core-dump": "enable_core_dump",
    "--skip-hot-restart-on-no-parent": "skip_hot_restart_on_no_parent",
    "--skip-hot-restart-parent-stats": "skip_hot_restart_parent_stats",
    "--demo": "demo",
}
SHORT: Final = {"-c": "--config-path", "-l": "--log-level"}
# Flags of Envoy that this version knows but does not serve, with the number of their values.
NOT_SERVED: Final = {"--enable-fine-grain-logging": 0, "--socket-path": 1, "--socket-mode": 1}
REPEATABLE: Final = ("--stats-tag",)


def parse(arguments: list[str]) -> Options:
    """Read a command line (without the program's name). Raises UsageError.

    As in Envoy, everything behind `--` is ignored, and a value stands in an argument of its own; `--flag=value` is
    understood as well.
    """
    options = Options()
    seen: set[str] = set()
    position = 0
    while position < len(arguments):
        given = arguments[position]
        position += 1
        if given in ("--", "--ignore_rest"):
            break
        flag, has_value, value = given.partition("=") if given.startswith("--") else (given, "", "")
        flag = SHORT.get(flag, flag)
        known = flag in TEXT_FLAGS or flag in NUMBER_FLAGS or flag in SWITCHES or flag in NOT_SERVED
        if not known:
            raise UsageError(f"{given} -- Couldn't find match for argument")
        if flag in seen and flag not in REPEATABLE:
            raise UsageError(f"({flag}) -- Argument already set!")
        seen.add(flag)
        if flag in NOT_SERVED:
            raise UsageError(f"error: {flag} is not supported by this version of outrider")
        if flag in SWITCHES:
            if has_value:
                raise UsageError(f"{given} -- Couldn't find match for argument")
            setattr(options, SWITCHES[flag], True)
            continue
        if not has_value:
            if position >= len(arguments):
                raise UsageError(f"{given} ({flag}) -- Missing a value for this argument!")
            value = arguments[position]
            position += 1
        if flag in NUMBER_FLAGS:
            setattr(options, NUMBER_FLAGS[flag], parse_number(flag, value))
        else:
            set_text(options, flag, value)
    options.log_format_set = "--log-format" in seen
    options.file_flush_min_size_set = "--file-flush-min-size-kb" in seen
    check(options)
    return options


def parse_number(flag: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 0xFFFFFFFF:
        raise UsageError(f"({flag}) -- Couldn't read argument value from string '{text}'")
    return int(text)


def set_text(options: Options, flag: str, value: str) -> None:
    if flag == "--disable-extensions":
        options.disabled_extensions = [name for name in value.split(",") if name]
    elif flag == "--stats-tag":
        name, colon, text = value.partition(":")
        if not colon or not name.isalnum() or not text or "." in text:
            raise UsageError(f"error: misformatted stats-tag '{value}'")
        if any(name == other for other, _ in options.stats_tags):
            raise UsageError(f"error: duplicate stats-tag '{name}'")
        options.stats_tags.append((name, text))
    else:
        setattr(options, TEXT_FLAGS[flag], value)


def check(options: Options) -> None:
    """Envoy's checks of values and combinations."""
    options.log_level = read_level(options.log_level, f"error: invalid log level specified '{options.log_level}'")
    if options.component_log_level:
        for part in options.component_log_level.split(","):
            name, _, level = part.partition(":")
            if not name or not level or ":" in level:
                raise UsageError(f"error: component log level not correctly specified '{part}'")
            read_level(level, f"error: invalid log level specified '{level}'")
            if name not in LOGGER_NAMES:
                raise UsageError(f"error: invalid component specified '{name}'")
    if options.mode not in ("serve", "validate", "init_only"):
        raise UsageError(f"error: unknown mode '{options.mode}'")
    if options.drain_strategy not in ("gradual", "immediate"):
        raise UsageError(f"error: unknown drain-strategy '{options.drain_strategy}'")
    if options.local_address_ip_version not in ("v4", "v6"):
        raise UsageError(f"error: unknown IP address version '{options.local_address_ip_version}'")
    if options.unsupported not in ("reject", "warn"):
        raise UsageError(f"error: unknown value '{options.unsupported}' of --unsupported: reject or warn")
    if options.use_dynamic_base_id and options.restart_epoch > 0:
        raise UsageError(f"error: cannot use --restart-epoch={options.restart_epoch} with --use-dynamic-base-id")
    if options.restart_epoch > 0:
        raise UsageError("error: --restart-epoch above 0 (hot restart) is not supported by this version of outrider")


def read_level(text: str, message: str) -> str:
    level = "warning" if text == "warn" else text
    if level not in LOG_LEVELS:
        raise UsageError(message)
    return level


def available_processors(cpuset: bool) -> int:
    """Processors of this machine, of this process' cpuset, or of its cgroup's quota if that is smaller.

    `ENVOY_CGROUP_CPU_DETECTION=false` turns the last one off, as in Envoy.
    """
    count = len(os.sched_getaffinity(0)) if cpuset and hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if os.environ.get("ENVOY_CGROUP_CPU_DETECTION", "true").lower() != "false":
        quota = cgroup_processors()
        if quota is not None:
            count = min(count, quota)
    return max(count, 1)


def cgroup_processors() -> int | None:
    """The processor quota of cgroup v2 (`cpu.max`) or v1, rounded down to at least 1; None where there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota_text, period_text = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
                quota_text = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                period_text = file.read().strip()
        except OSError:
            return None
    try:
        quota, period = int(quota_text), int(period_text)
    except ValueError:
        return None
    return max(quota // period, 1) if quota > 0 and period > 0 else None
