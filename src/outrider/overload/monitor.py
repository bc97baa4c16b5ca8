"""Resource monitors: what measures a pressure, and the registry of their kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime


class MonitorContext:
    """What a monitor may ask of the server."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        # Ids of all processes of this proxy: main, template and workers.
        self.process_ids: Callable[[], list[int]] = _no_processes


class ResourceMonitor:
    """One resource."""

    def pressure(self) -> float:
        """0 (idle) to 1 (used up), perhaps above. Raises OSError or ValueError: cannot be told now."""
        raise NotImplementedError


class ConnectionLimit(ResourceMonitor):
    """`global_downstream_max_connections`: not measured but asked before each connection is taken."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def pressure(self) -> float:
        return 0.0


RESOURCE_MONITORS: Final[ExtensionRegistry[ResourceMonitor]] = ExtensionRegistry("envoy.resource_monitors")
"""Factories take `(config, context)`: `(View, MonitorContext)`."""


def _no_processes() -> list[int]:
    return []
