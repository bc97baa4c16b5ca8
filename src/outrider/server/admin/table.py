"""Every endpoint of the admin interface. Texts of `/help` are Envoy's."""

from __future__ import annotations

from outrider.server.admin.clusters import ClusterHandlers
from outrider.server.admin.config_dump import ConfigDumpHandler
from outrider.server.admin.control import ControlHandlers
from outrider.server.admin.endpoint import Endpoint, EndpointTable, Handler, Parameter, ParameterKind
from outrider.server.admin.listeners import ListenerHandlers
from outrider.server.admin.profiling import ProfilingHandlers
from outrider.server.admin.request import AdminRequest, AdminResponse
from outrider.server.admin.runtime import RuntimeHandlers
from outrider.server.admin.server_info import InfoHandlers
from outrider.server.admin.state import AdminState
from outrider.server.admin.stats import StatsHandlers

FLAG = ParameterKind.FLAG
TEXT = ParameterKind.TEXT
CHOICE = ParameterKind.CHOICE

USED_ONLY = Parameter(FLAG, "usedonly", "Only include stats that have been written by system since restart")
STATS_FILTER = Parameter(TEXT, "filter", "Regular expression (Google re2) for filtering stats")
INVERT_FILTER = Parameter(FLAG, "invert_filter", "Invert the filter regex")
LEVELS = ("", "trace", "debug", "info", "warning", "error", "critical", "off")


def build_table(state: AdminState) -> EndpointTable:
    """The table for one server."""
    stats = StatsHandlers(state)
    runtime = RuntimeHandlers(state)
    control = ControlHandlers(state)
    info = InfoHandlers(state)
    profiling = ProfilingHandlers(state)
    clusters = ClusterHandlers(state)
    listeners = ListenerHandlers(state)
    dump = ConfigDumpHandler(state)
    pages = _Pages(state)
    get: list[tuple[str, str, Handler, tuple[Parameter, ...]]] = [
        ("/", "Admin home page", pages.home, ()),
        ("/certs", "print certs on machine", info.certs, ()),
        (
            "/clusters", "upstream cluster status", clusters.clusters,
            (Parameter(TEXT, "filter", "Regular expression (Google re2) for filtering clusters by name"),),
        ),
        ("/config_dump", "dump current Envoy configs", dump.config_dump, _dump_parameters()),
        ("/contention", "dump current Envoy mutex contention stats (if enabled)", info.contention, ()),
        ("/heap_dump", "dump current Envoy heap (if supported)", profiling.heap_dump, ()),
        ("/help", "print out list of admin commands", pages.help, ()),
        (
            "/hot_restart_version", "print the hot restart compatibility version", info.hot_restart_version, (),
        ),
        (
            "/init_dump", "dump current Envoy init manager information (experimental)", info.init_dump,
            (
                Parameter(
                    TEXT, "mask",
                    "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For "
                    "example, get the unready targets of all listeners with /init_dump?mask=listener`",
                ),
            ),
        ),
        (
            "/listeners", "print listener info", listeners.listeners,
            (Parameter(CHOICE, "format", "File format to use", ("text", "json")),),
        ),
        ("/memory", "print current allocation/heap usage", info.memory, ()),
        ("/memory/tcmalloc", "print TCMalloc stats", info.allocator, ()),
        ("/peak_heap_dump", "dump peak Envoy heap (if supported)", profiling.peak_heap_dump, ()),
        ("/ready", "print server state, return 200 if LIVE, otherwise return 503", info.ready, ()),
        ("/runtime", "print runtime values", runtime.runtime, ()),
        ("/server_info", "print server version/status information", info.server_info, ()),
        ("/stats", "print server stats", stats.stats, _stats_parameters()),
        (
            "/stats/prometheus", "print server stats in prometheus format", stats.prometheus,
            (
                USED_ONLY,
                Parameter(
                    FLAG, "text_readouts",
                    "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)",
                ),
                STATS_FILTER,
                INVERT_FILTER,
                Parameter(CHOICE, "histogram_buckets", "Histogram bucket display mode", ("cumulative", "summary")),
            ),
        ),
        ("/stats/recentlookups", "Show recent stat-name lookups", stats.recent_lookups, ()),
    ]  # fmt: skip
    post: list[tuple[str, str, Handler, tuple[Parameter, ...]]] = [
        (
            "/allocprofiler", "enable/disable the allocation profiler (if supported)", profiling.alloc_profiler,
            (_yes_no("enable/disable the allocation profiler"),),
        ),
        (
            "/cpuprofiler", "enable/disable the CPU profiler", profiling.cpu_profiler,
            (_yes_no("enables the CPU profiler"),),
        ),
        ("/drain_listeners", "drain listeners", control.drain_listeners, _drain_parameters()),
        ("/healthcheck/fail", "cause the server to fail health checks", control.fail_health_check, ()),
        ("/healthcheck/ok", "cause the server to pass health checks", control.pass_health_check, ()),
        (
            "/heapprofiler", "enable/disable the heap profiler", profiling.heap_profiler,
            (_yes_no("enable/disable the heap profiler"),),
        ),
        ("/logging", "query/change logging levels", control.logging, _logging_parameters()),
        ("/quitquitquit", "exit the server", control.quit, ()),
        ("/reopen_logs", "reopen access logs", control.reopen_logs, ()),
        ("/reset_counters", "reset all counters to zero", control.reset_counters, ()),
        (
            "/runtime_modify",
            "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an "
            "empty string as the value. Note that deletion only applies to overrides added via this endpoint; values "
            "loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...",
            runtime.modify, (),
        ),
        ("/stats/recentlookups/clear", "clear list of stat-name lookups and counter", stats.clear_lookups, ()),
        (
            "/stats/recentlookups/disable", "disable recording of reset stat-name lookup names", stats.disable_lookups,
            (),
        ),
        ("/stats/recentlookups/enable", "enable recording of reset stat-name lookup names", stats.enable_lookups, ()),
    ]  # fmt: skip
    table = EndpointTable(
        [Endpoint(path, text, handler, False, parameters) for path, text, handler, parameters in get]
        + [Endpoint(path, text, handler, True, parameters) for path, text, handler, parameters in post]
    )
    pages.table = table
    stats.endpoint = table.find("/stats")
    return table


class _Pages:
    """The pages about the interface itself."""

    table: EndpointTable

    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def home(self, request: AdminRequest) -> AdminResponse:
        from outrider.server.admin.home import home_page

        return home_page(self.table)

    async def help(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse(self.table.help_text())


def _yes_no(help_text: str) -> Parameter:
    return Parameter(CHOICE, "enable", help_text, ("y", "n"))


def _dump_parameters() -> tuple[Parameter, ...]:
    return (
        Parameter(TEXT, "resource", "The resource to dump"),
        Parameter(
            TEXT, "mask",
            "The mask to apply. When both resource and mask are specified, the mask is applied to every element in the "
            "desired repeated field so that only a subset of fields are returned. The mask is parsed as a "
            "Protobuf::FieldMask",
        ),
        Parameter(
            TEXT, "name_regex",
            "Dump only the currently loaded configurations whose names match the specified regex. Can be used with "
            "both resource and mask query parameters.",
        ),
        Parameter(
            FLAG, "include_eds",
            "Dump currently loaded configuration including EDS. See the response definition for more information",
        ),
    )  # fmt: skip


def _stats_parameters() -> tuple[Parameter, ...]:
    return (
        USED_ONLY,
        STATS_FILTER,
        INVERT_FILTER,
        Parameter(CHOICE, "format", "Format to use", ("html", "active-html", "text", "json")),
        Parameter(
            CHOICE, "type", "Stat types to include.", ("All", "Counters", "Histograms", "Gauges", "TextReadouts")
        ),
        Parameter(
            CHOICE, "histogram_buckets", "Histogram bucket display mode",
            ("cumulative", "disjoint", "detailed", "summary"),
        ),
    )  # fmt: skip


def _drain_parameters() -> tuple[Parameter, ...]:
    return (
        Parameter(
            FLAG, "graceful",
            "When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and "
            "duration is configurable via server options or CLI",
        ),
        Parameter(
            FLAG, "skip_exit",
            "When draining listeners, drain the connections but never stop the listeners. The graceful parameter has "
            "no effect when this is set, since the drain period only delays stopping the listeners",
        ),
        Parameter(
            FLAG, "inboundonly",
            "Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is "
            "used to determine whether a listener is inbound or outbound.",
        ),
    )  # fmt: skip


def _logging_parameters() -> tuple[Parameter, ...]:
    return (
        Parameter(
            TEXT, "paths",
            "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:"
            "<desired_level2>. If fine grain logging is enabled, use __FILE__ or a glob experision as the logger name. "
            "For example, source/common*:warning",
        ),
        Parameter(
            TEXT, "group",
            "Change given logger group to desired level, set to <logger_group_name>:<desired_level>. logger_group_name "
            "must be a logger name.",
        ),
        Parameter(CHOICE, "level", "desired logging level, this will change all loggers's level", LEVELS),
    )  # fmt: skip
