"""How far each overload action is on, as the road sees it. One object per process half."""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.stats.metrics import Counter

FULL: Final = 10_000
"""An action that is wholly on; 0 is off."""

# Timers that `reduce_timeouts` may shorten.
CONNECTION_IDLE: Final = 0
STREAM_IDLE: Final = 1
TRANSPORT_SOCKET_CONNECT: Final = 2
CONNECTION_MAX: Final = 3
STREAM_FLUSH: Final = 4
TIMERS: Final = 5


@mypyc_attr(allow_interpreted_subclasses=True)
class OverloadObserver:
    """Told when some action's state has changed."""

    def on_overload_changed(self, state: OverloadState) -> None:
        raise NotImplementedError


def sheds(scale: int) -> bool:
    """Whether an action that is on this far takes this request or connection."""
    return scale >= FULL or (scale > 0 and random() * FULL < scale)


class LoadShedPoint:
    """One place at which work can be turned away."""

    __slots__ = ("name", "scale", "shed_load_count")

    def __init__(self, name: str, shed_load_count: Counter) -> None:
        self.name = name
        self.scale: int = 0
        self.shed_load_count = shed_load_count

    def should_shed(self) -> bool:
        if self.scale == 0 or not sheds(self.scale):
            return False
        self.shed_load_count.inc()
        return True


class OverloadState:
    """States of the actions, 0 to FULL. All zero where there is no overload manager."""

    __slots__ = (
        "stop_accepting_requests",
        "disable_http_keepalive",
        "stop_accepting_connections",
        "reject_incoming_connections",
        "shrink_heap",
        "reduce_timeouts",
        "minimums",
        "minimum_scales",
        "points",
        "observers",
        "active",
    )

    def __init__(self) -> None:
        self.stop_accepting_requests: int = 0
        self.disable_http_keepalive: int = 0
        self.stop_accepting_connections: int = 0
        self.reject_incoming_connections: int = 0
        self.shrink_heap: int = 0
        self.reduce_timeouts: int = 0
        # Per timer kind: milliseconds that remain at full scale; -1 = that timer is not reduced.
        self.minimums: list[int] = [-1] * TIMERS
        # Per timer kind: the least as a share of the whole, in parts of FULL; -1 = not given so.
        self.minimum_scales: list[int] = [-1] * TIMERS
        self.points: dict[str, LoadShedPoint] = {}
        self.observers: list[OverloadObserver] = []
        # Whether anything is on at all: the one thing that the road looks at otherwise.
        self.active: bool = False

    def point(self, name: str) -> LoadShedPoint | None:
        """The load shed point of that name, None where it is not configured."""
        return self.points.get(name)

    def timeout(self, kind: int, timeout_ms: int) -> int:
        """A timeout in milliseconds as it is to be now. 0 (none) stays 0."""
        scale = self.reduce_timeouts
        if scale == 0 or timeout_ms <= 0:
            return timeout_ms
        least = self.minimums[kind]
        if self.minimum_scales[kind] >= 0:
            least = timeout_ms * self.minimum_scales[kind] // FULL
        if least < 0 or least >= timeout_ms:
            return timeout_ms
        return max(least + (timeout_ms - least) * (FULL - scale) // FULL, 1)

    def apply(self, actions: dict[str, int], points: dict[str, int]) -> None:
        """New states from main: action (without its prefix) or point -> 0..FULL."""
        self.stop_accepting_requests = actions.get("stop_accepting_requests", 0)
        self.disable_http_keepalive = actions.get("disable_http_keepalive", 0)
        self.stop_accepting_connections = actions.get("stop_accepting_connections", 0)
        self.reject_incoming_connections = actions.get("reject_incoming_connections", 0)
        self.shrink_heap = actions.get("shrink_heap", 0)
        self.reduce_timeouts = actions.get("reduce_timeouts", 0)
        self.active = any(actions.values()) or any(points.values())
        for name, point in self.points.items():
            point.scale = points.get(name, 0)
        for observer in list(self.observers):
            observer.on_overload_changed(self)
