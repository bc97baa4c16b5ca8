"""envoy.resource_monitors.injected_resource: the pressure stands in a file, 0 to 1. For tests and operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.overload.monitor import RESOURCE_MONITORS, MonitorContext, ResourceMonitor

if TYPE_CHECKING:
    from outrider.config.view import View


class InjectedResource(ResourceMonitor):
    def __init__(self, path: str) -> None:
        self.path = path

    def pressure(self) -> float:
        with open(self.path, encoding="utf-8") as file:
            text = file.read(64).strip()
        pressure = float(text)
        if not 0 <= pressure <= 1:
            raise ValueError(f"pressure out of range: {text}")
        return pressure


@RESOURCE_MONITORS.register(
    "envoy.resource_monitors.injected_resource",
    "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig",
)
def create(config: View, context: MonitorContext) -> ResourceMonitor:
    return InjectedResource(config.text("filename"))
