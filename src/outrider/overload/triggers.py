"""Triggers: from the pressure of a resource to how far an action is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.overload.state import FULL

if TYPE_CHECKING:
    from outrider.config.view import View


class Trigger:
    """`threshold`: off or wholly on. `scaled`: off up to one pressure, wholly on from another, partly between."""

    __slots__ = ("resource", "saturation", "start")

    def __init__(self, resource: str, start: float, saturation: float) -> None:
        self.resource = resource
        # Equal for a threshold.
        self.start = start
        self.saturation = saturation

    def state(self, pressure: float) -> int:
        """0 to FULL."""
        if pressure >= self.saturation:
            return FULL
        if pressure <= self.start or self.start >= self.saturation:
            return 0
        return int(FULL * (pressure - self.start) / (self.saturation - self.start))


def read_triggers(view: View, resources: dict[str, object], what: str) -> list[Trigger]:
    """`triggers` of an action or a load shed point (`what` names it in errors). Raises ConfigError."""
    triggers: list[Trigger] = []
    for each in view.messages("triggers"):
        resource = each.text("name")
        if resource not in resources:
            raise each.error(f"Unknown trigger resource {resource} for {what}", "name")
        if any(trigger.resource == resource for trigger in triggers):
            raise each.error(f"Duplicate trigger resource for {what}", "name")
        threshold = each.message("threshold")
        scaled = each.message("scaled")
        if threshold is not None:
            value = threshold.number("value")
            triggers.append(Trigger(resource, value, value))
        elif scaled is not None:
            start = scaled.number("scaling_threshold")
            saturation = scaled.number("saturation_threshold")
            if start >= saturation:
                raise scaled.error("scaling_threshold must be less than saturation_threshold")
            triggers.append(Trigger(resource, start, saturation))
    return triggers
