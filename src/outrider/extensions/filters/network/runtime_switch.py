"""Switches that runtime may throw: `RuntimeFeatureFlag`. No filter of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.config.view import View


class RuntimeSwitch:
    """On or off by default, or as the runtime key says."""

    __slots__ = ("runtime", "key", "default")

    def __init__(self, runtime: Runtime, key: str, default: bool) -> None:
        self.runtime = runtime
        self.key = key
        self.default = default

    def on(self) -> bool:
        return self.runtime.get_boolean(self.key, self.default) if self.key else self.default


def runtime_switch(view: View, field: str, runtime: Runtime) -> RuntimeSwitch:
    """From a RuntimeFeatureFlag field; on where the field is not set."""
    flag = view.message(field)
    if flag is None:
        return RuntimeSwitch(runtime, "", True)
    return RuntimeSwitch(runtime, flag.text("runtime_key"), flag.flag("default_value"))
