"""`Bootstrap.overload_manager`, read and checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.overload.monitor import RESOURCE_MONITORS, ConnectionLimit, MonitorContext, ResourceMonitor
from outrider.overload.state import (
    CONNECTION_IDLE,
    CONNECTION_MAX,
    FULL,
    STREAM_FLUSH,
    STREAM_IDLE,
    TIMERS,
    TRANSPORT_SOCKET_CONNECT,
    LoadShedPoint,
    OverloadState,
)
from outrider.overload.triggers import Trigger, read_triggers

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.stats.store import Scope

DEFAULT_REFRESH_MS: Final = 1000
PREFIX: Final = "envoy.overload_actions."
_ACTIONS: Final = (
    "stop_accepting_requests",
    "disable_http_keepalive",
    "stop_accepting_connections",
    "reject_incoming_connections",
    "shrink_heap",
    "reduce_timeouts",
)
# Known to Envoy, not served here.
_UNSERVED: Final = ("reset_high_memory_stream", "close_idle_http_connections")
_SCALE_TIMERS: Final = "envoy.config.overload.v3.ScaleTimersOverloadActionConfig"
_SHRINK_HEAP: Final = "envoy.config.overload.v3.ShrinkHeapConfig"
_TIMER_KINDS: Final = {
    "HTTP_DOWNSTREAM_CONNECTION_IDLE": CONNECTION_IDLE,
    "HTTP_DOWNSTREAM_STREAM_IDLE": STREAM_IDLE,
    "TRANSPORT_SOCKET_CONNECT": TRANSPORT_SOCKET_CONNECT,
    "HTTP_DOWNSTREAM_CONNECTION_MAX": CONNECTION_MAX,
    "HTTP_DOWNSTREAM_STREAM_FLUSH": STREAM_FLUSH,
}
TCP_LISTENER_ACCEPT: Final = "envoy.load_shed_points.tcp_listener_accept"
DECODE_HEADERS: Final = "envoy.load_shed_points.http_connection_manager_decode_headers"
CREATING_CODEC: Final = "envoy.load_shed_points.hcm_ondata_creating_codec"
# Points that are looked at somewhere.
_POINTS: Final = (TCP_LISTENER_ACCEPT, DECODE_HEADERS, CREATING_CODEC)


class OverloadAction:
    """An action with what sets it off."""

    __slots__ = ("name", "triggers")

    def __init__(self, name: str, triggers: list[Trigger]) -> None:
        # Without the prefix.
        self.name = name
        self.triggers = triggers


class OverloadSettings:
    """All of it. Raises ConfigError."""

    def __init__(self, view: View | None, context: MonitorContext) -> None:
        self.context = context
        self.refresh_ms: int = DEFAULT_REFRESH_MS
        self.monitors: dict[str, ResourceMonitor] = {}
        self.actions: list[OverloadAction] = []
        self.points: list[OverloadAction] = []
        self.minimums: list[int] = [-1] * TIMERS
        self.minimum_scales: list[int] = [-1] * TIMERS
        # `shrink_heap`: every so many milliseconds while it is on.
        self.shrink_interval_ms: int = 10_000
        if view is None:
            return
        interval = view.millis("refresh_interval")
        self.refresh_ms = DEFAULT_REFRESH_MS if interval is None else max(interval, 1)
        for each in view.messages("resource_monitors"):
            self._read_monitor(each)
        for each in view.messages("actions"):
            self._read_action(each, view)
        for each in view.messages("loadshed_points"):
            self._read_point(each)

    @property
    def connection_limit(self) -> int | None:
        """Of `global_downstream_max_connections`."""
        for monitor in self.monitors.values():
            if isinstance(monitor, ConnectionLimit):
                return monitor.limit
        return None

    def _read_monitor(self, view: View) -> None:
        name = view.text("name")
        if name in self.monitors:
            raise view.error(f"Duplicate resource monitor {name}", "name")
        self.monitors[name] = RESOURCE_MONITORS.create(view, self.context)

    def _read_action(self, view: View, manager: View) -> None:
        full_name = view.text("name")
        name = full_name.removeprefix(PREFIX)
        if full_name == name or name not in (*_ACTIONS, *_UNSERVED):
            raise view.error(f"Unknown Overload Manager Action {full_name}", "name")
        if name in _UNSERVED:
            if name == "reset_high_memory_stream" and not manager.has("buffer_factory_config"):
                raise view.error(f'Overload action "{full_name}" requires buffer_factory_config.', "name")
            raise view.error(f"{full_name} is not supported by this version of outrider", "name")
        if any(action.name == name for action in self.actions):
            raise view.error(f"Duplicate overload action {full_name}", "name")
        wanted = {"reduce_timeouts": _SCALE_TIMERS, "shrink_heap": _SHRINK_HEAP}.get(name)
        config = view.message("typed_config")
        if name == "reduce_timeouts" and config is None:
            raise view.error(f'Overload action "{full_name}" requires typed_config', "typed_config")
        if config is not None:
            if config.type_name != wanted:
                raise view.error(
                    f'Overload action name "{full_name}" conflicts with its typed config', "typed_config"
                )
            if name == "reduce_timeouts":
                self._read_timers(config)
            else:
                self._read_shrink(config)
        self.actions.append(
            OverloadAction(name, read_triggers(view, dict(self.monitors), f"overload action {full_name}"))
        )

    def _read_timers(self, config: View) -> None:
        for each in config.messages("timer_scale_factors"):
            named = each.enum("timer")
            kind = _TIMER_KINDS.get(named)
            if kind is None:
                raise each.error(f"Unknown timer type {named}", "timer")
            if self.minimums[kind] >= 0 or self.minimum_scales[kind] >= 0:
                raise each.error(f"Found duplicate entry for timer type {named}", "timer")
            if kind not in (CONNECTION_IDLE, STREAM_IDLE):
                raise each.error(f"{named} is not supported by this version of outrider", "timer")
            minimum = each.millis("min_timeout")
            if minimum is not None:
                self.minimums[kind] = minimum
            else:
                self.minimum_scales[kind] = int(each.number("min_scale") * FULL / 100)

    def _read_shrink(self, config: View) -> None:
        interval = config.millis("timer_interval")
        if interval is not None:
            self.shrink_interval_ms = max(interval, 1)

    def _read_point(self, view: View) -> None:
        name = view.text("name")
        if any(point.name == name for point in self.points):
            raise view.error(f"Duplicate loadshed point {name}", "name")
        if name.startswith("envoy.load_shed_points.") and name not in _POINTS:
            raise view.error(f"{name} is not supported by this version of outrider", "name")
        triggers = read_triggers(view, dict(self.monitors), f"loadshed point {name}")
        self.points.append(OverloadAction(name, triggers))

    def has_action(self, name: str) -> bool:
        """Whether an action, named without its prefix, is configured."""
        return any(action.name == name for action in self.actions)

    def new_state(self, scope: Scope) -> OverloadState:
        """A state for one process half, everything off."""
        state = OverloadState()
        state.minimums = list(self.minimums)
        state.minimum_scales = list(self.minimum_scales)
        for point in self.points:
            count = scope.counter(f"overload.{point.name}.shed_load_count")
            state.points[point.name] = LoadShedPoint(point.name, count)
        return state
