"""envoy.retry_host_predicates.previous_hosts: a retry avoids the hosts that have been tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.router.config.retry_policy import RETRY_HOST_PREDICATES, RetryHostPredicate, RetryHostPredicateFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.host import Host


class PreviousHosts(RetryHostPredicate):
    """Remembers addresses: a host that was replaced meanwhile is still the same place."""

    __slots__ = ("attempted",)

    def __init__(self) -> None:
        self.attempted: list[str] = []

    def should_select_another_host(self, host: Host) -> bool:
        return host.address.text in self.attempted

    def on_host_attempted(self, host: Host) -> None:
        self.attempted.append(host.address.text)


class PreviousHostsFactory(RetryHostPredicateFactory):
    def create(self) -> RetryHostPredicate:
        return PreviousHosts()


@RETRY_HOST_PREDICATES.register(
    "envoy.retry_host_predicates.previous_hosts",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
)
def create(config: View, context: FactoryContext) -> RetryHostPredicateFactory:
    return PreviousHostsFactory()
