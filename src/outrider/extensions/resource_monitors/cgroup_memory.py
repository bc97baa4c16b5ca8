"""envoy.resource_monitors.cgroup_memory: memory of the control group as a share of its limit, v2 or v1."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from outrider.extensions.resource_monitors.cgroup import CGROUP, read_number
from outrider.overload.monitor import RESOURCE_MONITORS, MonitorContext, ResourceMonitor

if TYPE_CHECKING:
    from outrider.config.view import View

# Usage and limit.
_PLACES: Final = (
    (f"{CGROUP}/memory.current", f"{CGROUP}/memory.max"),
    (f"{CGROUP}/memory/memory.usage_in_bytes", f"{CGROUP}/memory/memory.limit_in_bytes"),
)


class CgroupMemory(ResourceMonitor):
    def __init__(self, usage: str, limit: str, maximum: int) -> None:
        self.usage = usage
        self.limit = limit
        # Bytes of the configuration, 0: none.
        self.maximum = maximum

    def pressure(self) -> float:
        limit = read_number(self.limit)
        if self.maximum and (limit is None or self.maximum < limit):
            limit = self.maximum
        if limit is None:
            return 0.0
        used = read_number(self.usage) or 0
        return used / limit if limit > 0 else 0.0


@RESOURCE_MONITORS.register(
    "envoy.resource_monitors.cgroup_memory",
    "envoy.extensions.resource_monitors.cgroup_memory.v3.CgroupMemoryConfig",
)
def create(config: View, context: MonitorContext) -> ResourceMonitor:
    """Raises ConfigError: there is no memory control group here."""
    for usage, limit in _PLACES:
        if os.path.exists(usage):
            return CgroupMemory(usage, limit, config.integer("max_memory_bytes"))
    raise config.error("No supported cgroup memory implementation found")
