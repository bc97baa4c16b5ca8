"""envoy.resource_monitors.fixed_heap: memory of all processes of this proxy as a share of a fixed size.

Envoy measures the heap of its one process; here it is the proportional set size (shared pages counted once) of main,
template and workers together, since that is what a container's limit acts on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.overload.monitor import RESOURCE_MONITORS, MonitorContext, ResourceMonitor

if TYPE_CHECKING:
    from outrider.config.view import View


class FixedHeap(ResourceMonitor):
    def __init__(self, limit: int, runtime_key: str, context: MonitorContext) -> None:
        self.limit = limit
        self.runtime_key = runtime_key
        self.context = context

    def pressure(self) -> float:
        limit = self.limit
        if self.runtime_key:
            limit = self.context.runtime.get_integer(self.runtime_key, limit)
        if limit <= 0:
            raise ValueError("fixed_heap: max heap size must be greater than 0")
        return sum(proportional_bytes(each) for each in self.context.process_ids()) / limit


def proportional_bytes(process_id: int) -> int:
    """The proportional set size of a process in bytes; its resident size where the kernel does not tell. Raises
    OSError."""
    try:
        with open(f"/proc/{process_id}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        pass
    try:
        with open(f"/proc/{process_id}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        # It has just ended.
        pass
    return 0


@RESOURCE_MONITORS.register(
    "envoy.resource_monitors.fixed_heap", "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
)
def create(config: View, context: MonitorContext) -> ResourceMonitor:
    """Raises ConfigError."""
    limit = config.integer("max_heap_size_bytes")
    runtime_key = ""
    dynamic = config.message("max_heap_size_bytes_runtime")
    if dynamic is not None:
        limit = dynamic.integer("default_value")
        runtime_key = dynamic.text("runtime_key")
    if limit <= 0:
        raise config.error("fixed_heap: max heap size must be greater than 0", "max_heap_size_bytes")
    return FixedHeap(limit, runtime_key, context)
