"""envoy.resource_monitors.cpu_utilization: how busy the processors are, smoothed.

HOST: of the whole machine, from /proc/stat. CONTAINER: of what the cgroup may use. Source: Envoy documentation,
"CPU utilization resource monitor".
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from outrider.extensions.resource_monitors.cgroup import CGROUP, read_number
from outrider.overload.monitor import RESOURCE_MONITORS, MonitorContext, ResourceMonitor

if TYPE_CHECKING:
    from outrider.config.view import View

# Share of the newest measurement in what is told.
_NEWEST: Final = 0.05


class CpuUtilization(ResourceMonitor):
    """Smoothed over measurements; subclasses take one."""

    def __init__(self) -> None:
        self.utilization = 0.0
        self._busy, self._total = self.measure()

    def measure(self) -> tuple[float, float]:
        """Work done and work possible until now, in the same unit. Raises OSError, ValueError."""
        raise NotImplementedError

    def pressure(self) -> float:
        busy, total = self.measure()
        done, possible = busy - self._busy, total - self._total
        if possible <= 0 or done < 0:
            raise ValueError("no time has passed")
        self._busy, self._total = busy, total
        self.utilization = min(done / possible, 1.0) * _NEWEST + self.utilization * (1 - _NEWEST)
        return self.utilization


class HostCpu(CpuUtilization):
    def measure(self) -> tuple[float, float]:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(text) for text in file.readline().split()[1:]]
        # user, nice and system against these and idle.
        busy = fields[0] + fields[1] + fields[2]
        return float(busy), float(busy + fields[3])


class ContainerCpu(CpuUtilization):
    def measure(self) -> tuple[float, float]:
        with open(f"{CGROUP}/cpu.stat", encoding="ascii") as file:
            used = next(int(line.split()[1]) for line in file if line.startswith("usage_usec"))
        processors = float(os.cpu_count() or 1)
        quota = read_number(f"{CGROUP}/cpu.max")
        if quota is not None:
            processors = quota / 100_000
        return float(used), time.monotonic() * 1_000_000 * processors


@RESOURCE_MONITORS.register(
    "envoy.resource_monitors.cpu_utilization",
    "envoy.extensions.resource_monitors.cpu_utilization.v3.CpuUtilizationConfig",
)
def create(config: View, context: MonitorContext) -> ResourceMonitor:
    """Raises ConfigError: this machine does not tell."""
    try:
        return ContainerCpu() if config.enum("mode") == "CONTAINER" else HostCpu()
    except (OSError, ValueError, StopIteration) as error:
        raise config.error(f"cannot measure the utilization of the processors: {error}") from None
