"""envoy.retry_host_predicates.omit_canary_hosts: retries do not go to canary hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.router.config.retry_policy import RETRY_HOST_PREDICATES, RetryHostPredicate, RetryHostPredicateFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.host import Host


class OmitCanaryHosts(RetryHostPredicate):
    __slots__ = ()

    def should_select_another_host(self, host: Host) -> bool:
        return host.canary


class OmitCanaryHostsFactory(RetryHostPredicateFactory):
    def create(self) -> RetryHostPredicate:
        return OmitCanaryHosts()


@RETRY_HOST_PREDICATES.register(
    "envoy.retry_host_predicates.omit_canary_hosts",
    "envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate",
)
def create(config: View, context: FactoryContext) -> RetryHostPredicateFactory:
    return OmitCanaryHostsFactory()
