"""envoy.retry_host_predicates.omit_host_metadata: retries do not go to hosts with certain `envoy.lb` metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.router.config.retry_policy import RETRY_HOST_PREDICATES, RetryHostPredicate, RetryHostPredicateFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.host import Host


class OmitHostMetadata(RetryHostPredicate):
    __slots__ = ("labels",)

    def __init__(self, labels: dict[str, object]) -> None:
        self.labels = labels

    def should_select_another_host(self, host: Host) -> bool:
        metadata = host.metadata.get("envoy.lb")
        if metadata is None:
            # No labels at all are those of any host.
            return not self.labels
        for key, wanted in self.labels.items():
            if key not in metadata:
                return False
            value = metadata[key]
            if value != wanted and not (isinstance(value, list) and wanted in value):
                return False
        return True


class OmitHostMetadataFactory(RetryHostPredicateFactory):
    def __init__(self, labels: dict[str, object]) -> None:
        self.predicate = OmitHostMetadata(labels)

    def create(self) -> RetryHostPredicate:
        # It keeps nothing of a request.
        return self.predicate


@RETRY_HOST_PREDICATES.register(
    "envoy.retry_host_predicates.omit_host_metadata",
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
)
def create(config: View, context: FactoryContext) -> RetryHostPredicateFactory:
    match = config.message("metadata_match")
    labels: dict[str, object] = {}
    if match is not None:
        labels = match.struct_map("filter_metadata").get("envoy.lb", {})
    return OmitHostMetadataFactory(labels)
