"""envoy.retry_priorities.previous_priorities: retries leave out the priorities that have been tried.

Source: Envoy documentation, "HTTP routing: retry plugin configuration", `PreviousPrioritiesConfig`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.router.config.retry_policy import RETRY_PRIORITIES, RetryPriority, RetryPriorityFactory
from outrider.upstream.priority_load import PriorityLoad, distribute

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.host import Host


class PreviousPriorities(RetryPriority):
    """Every `update_frequency` attempts the priorities tried so far are left out, until none is left."""

    __slots__ = ("update_frequency", "attempted", "excluded", "current")

    def __init__(self, update_frequency: int) -> None:
        self.update_frequency = update_frequency
        # Priority of each attempt's host.
        self.attempted: list[int] = []
        self.excluded: set[int] = set()
        self.current: PriorityLoad | None = None

    def on_host_attempted(self, host: Host) -> None:
        self.attempted.append(host.priority)

    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        if not self.attempted or len(self.attempted) % self.update_frequency != 0:
            # Between two updates the last one holds.
            return load if self.current is None else self.current
        self.excluded.update(self.attempted)
        adjusted = self._without_excluded(load)
        if adjusted is None:
            # Every priority that has hosts was tried: begin anew.
            self.excluded.clear()
            self.attempted.clear()
            self.current = None
            return load
        self.current = adjusted
        return adjusted

    def _without_excluded(self, load: PriorityLoad) -> PriorityLoad | None:
        count = len(load.health)
        adjusted = PriorityLoad(count)
        for priority in range(count):
            adjusted.panic[priority] = load.panic[priority]
            if priority not in self.excluded:
                adjusted.health[priority] = load.health[priority]
                adjusted.degraded_health[priority] = load.degraded_health[priority]
        return adjusted if distribute(adjusted) else None


class PreviousPrioritiesFactory(RetryPriorityFactory):
    def __init__(self, update_frequency: int) -> None:
        self.update_frequency = update_frequency

    def create(self) -> RetryPriority:
        return PreviousPriorities(self.update_frequency)


@RETRY_PRIORITIES.register(
    "envoy.retry_priorities.previous_priorities",
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
)
def create(config: View, context: FactoryContext) -> RetryPriorityFactory:
    return PreviousPrioritiesFactory(config.integer("update_frequency"))
