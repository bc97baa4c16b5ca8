"""Every endpoint of the admin interface: Envoy's paths, methods and parameters, described in our words."""

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

USED_ONLY = Parameter(FLAG, "usedonly", "Leave out stats that nothing has written to yet")
STATS_FILTER = Parameter(TEXT, "filter", "Show the stats whose names match this RE2 expression")
INVERT_FILTER = Parameter(FLAG, "invert_filter", "Show those that do not match instead")
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
        ("/", "This page", pages.home, ()),
        ("/certs", "Loaded certificates with names and validity", info.certs, ()),
        (
            "/clusters", "Clusters and the state of their hosts", clusters.clusters,
            (Parameter(TEXT, "filter", "Only clusters whose names match this RE2 expression"),),
        ),
        ("/config_dump", "The running configuration as JSON", dump.config_dump, _dump_parameters()),
        ("/contention", "Lock contention (no locks are traced here)", info.contention, ()),
        ("/heap_dump", "Heap by allocation site, while the heap profiler runs", profiling.heap_dump, ()),
        ("/help", "All endpoints, as text", pages.help, ()),
        (
            "/hot_restart_version", "Version of the hot restart protocol", info.hot_restart_version, (),
        ),
        (
            "/init_dump", "What start-up still waits for", info.init_dump,
            (
                Parameter(
                    TEXT, "mask",
                    "Field mask of the parts to show, such as listener",
                ),
            ),
        ),
        (
            "/listeners", "Listeners and their addresses", listeners.listeners,
            (Parameter(CHOICE, "format", "Output format", ("text", "json")),),
        ),
        ("/memory", "Memory in use", info.memory, ()),
        ("/memory/tcmalloc", "Details of the memory allocator", info.allocator, ()),
        ("/peak_heap_dump", "Largest heap seen while the heap profiler ran", profiling.peak_heap_dump, ()),
        ("/ready", "State of the server; 200 when LIVE, else 503", info.ready, ()),
        ("/runtime", "Runtime keys, their layers and values", runtime.runtime, ()),
        ("/server_info", "Version, state, node and command line", info.server_info, ()),
        ("/stats", "Counters, gauges and histograms", stats.stats, _stats_parameters()),
        (
            "/stats/prometheus", "The same for Prometheus to scrape", stats.prometheus,
            (
                USED_ONLY,
                Parameter(
                    FLAG, "text_readouts",
                    "Add text readouts as gauges of value 0 with the text as a label",
                ),
                STATS_FILTER,
                INVERT_FILTER,
                Parameter(CHOICE, "histogram_buckets", "How histograms are shown", ("cumulative", "summary")),
            ),
        ),
        ("/stats/recentlookups", "Stat names looked up of late", stats.recent_lookups, ()),
    ]  # fmt: skip
    post: list[tuple[str, str, Handler, tuple[Parameter, ...]]] = [
        (
            "/allocprofiler", "Start or stop tracing allocations", profiling.alloc_profiler,
            (_yes_no("start (y) or stop (n)"),),
        ),
        (
            "/cpuprofiler", "Start or stop the CPU profiler", profiling.cpu_profiler,
            (_yes_no("start (y) or stop (n)"),),
        ),
        ("/drain_listeners", "Stop accepting on the listeners", control.drain_listeners, _drain_parameters()),
        ("/healthcheck/fail", "Answer health checks with failure from now on", control.fail_health_check, ()),
        ("/healthcheck/ok", "Answer health checks normally again", control.pass_health_check, ()),
        (
            "/heapprofiler", "Start or stop the heap profiler", profiling.heap_profiler,
            (_yes_no("start (y) or stop (n)"),),
        ),
        ("/logging", "Show or change log levels", control.logging, _logging_parameters()),
        ("/quitquitquit", "End the server", control.quit, ()),
        ("/reopen_logs", "Open all log files anew", control.reopen_logs, ()),
        ("/reset_counters", "Set every counter to zero", control.reset_counters, ()),
        (
            "/runtime_modify",
            "Override runtime keys: ?key=value&other=value; an empty value takes the override back",
            runtime.modify, (),
        ),
        ("/stats/recentlookups/clear", "Forget the recorded look-ups", stats.clear_lookups, ()),
        (
            "/stats/recentlookups/disable", "Stop recording look-ups", stats.disable_lookups,
            (),
        ),
        ("/stats/recentlookups/enable", "Record look-ups", stats.enable_lookups, ()),
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
        Parameter(TEXT, "resource", "Only this list, such as dynamic_active_clusters"),
        Parameter(
            TEXT, "mask",
            "Field mask; with a resource it applies to each of its elements",
        ),
        Parameter(
            TEXT, "name_regex",
            "Only entries whose names match this RE2 expression",
        ),
        Parameter(
            FLAG, "include_eds",
            "With the endpoints of all clusters",
        ),
    )  # fmt: skip


def _stats_parameters() -> tuple[Parameter, ...]:
    return (
        USED_ONLY,
        STATS_FILTER,
        INVERT_FILTER,
        Parameter(CHOICE, "format", "Output format", ("html", "active-html", "text", "json")),
        Parameter(
            CHOICE, "type", "Only this kind", ("All", "Counters", "Histograms", "Gauges", "TextReadouts")
        ),
        Parameter(
            CHOICE, "histogram_buckets", "How histograms are shown",
            ("cumulative", "disjoint", "detailed", "summary"),
        ),
    )  # fmt: skip


def _drain_parameters() -> tuple[Parameter, ...]:
    return (
        Parameter(
            FLAG, "graceful",
            "Ask connections to go away first, over --drain-time-s; then stop",
        ),
        Parameter(
            FLAG, "skip_exit",
            "Ask connections to go away but keep the listeners open",
        ),
        Parameter(
            FLAG, "inboundonly",
            "Only listeners whose traffic_direction is INBOUND",
        ),
    )  # fmt: skip


def _logging_parameters() -> tuple[Parameter, ...]:
    return (
        Parameter(
            TEXT, "paths",
            "Several at once: logger:level,logger:level",
        ),
        Parameter(
            TEXT, "group",
            "One group of loggers: name:level",
        ),
        Parameter(CHOICE, "level", "Level of all loggers", LEVELS),
    )  # fmt: skip
