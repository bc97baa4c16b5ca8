"""Which transport socket an endpoint gets: `transport_socket_matches`, else `transport_socket`."""

from __future__ import annotations

from outrider.network.transport_socket import TransportSocketFactory
from outrider.stats.metrics import Counter
from outrider.stats.store import Scope

TRANSPORT_SOCKET_MATCH: str = "envoy.transport_socket_match"


class SocketMatch:
    """One entry: what the endpoint's metadata must hold."""

    __slots__ = ("name", "criteria", "factory", "count")

    def __init__(
        self, name: str, criteria: dict[str, object], factory: TransportSocketFactory, count: Counter
    ) -> None:
        self.name = name
        self.criteria = criteria
        self.factory = factory
        # `<name>.total_match_count`
        self.count = count


class TransportSocketMatcher:
    """First match wins. Hosts ask once, when they are made."""

    __slots__ = ("matches", "default_factory", "default_count", "names_client")

    def __init__(self, default_factory: TransportSocketFactory, scope: Scope) -> None:
        self.default_factory = default_factory
        self.matches: list[SocketMatch] = []
        # Whether any of the factories wants to know the client.
        self.names_client: bool = default_factory.names_client
        self.default_count: Counter = scope.counter("default.total_match_count")

    def add(self, name: str, criteria: dict[str, object], factory: TransportSocketFactory, scope: Scope) -> None:
        self.names_client = self.names_client or factory.names_client
        self.matches.append(SocketMatch(name, criteria, factory, scope.counter(f"{name}.total_match_count")))

    def resolve(
        self, metadata: dict[str, dict[str, object]], locality_metadata: dict[str, dict[str, object]], counts: bool
    ) -> TransportSocketFactory:
        """For an endpoint's metadata, and that of its locality. `counts`: the call is one that Envoy's stats show."""
        if self.matches:
            for source in (metadata, locality_metadata):
                values = source.get(TRANSPORT_SOCKET_MATCH)
                if not values:
                    continue
                for match in self.matches:
                    if labels_match(match.criteria, values):
                        if counts:
                            match.count.inc()
                        return match.factory
            # An entry without criteria matches whatever is there, and also nothing at all.
            for match in self.matches:
                if not match.criteria:
                    if counts:
                        match.count.inc()
                    return match.factory
        if counts:
            self.default_count.inc()
        return self.default_factory

    def all_secure(self) -> bool:
        return self.default_factory.implements_secure_transport and all(
            match.factory.implements_secure_transport for match in self.matches
        )

    def any_secure(self) -> bool:
        return self.default_factory.implements_secure_transport or any(
            match.factory.implements_secure_transport for match in self.matches
        )


def labels_match(criteria: dict[str, object], values: dict[str, object]) -> bool:
    """Whether `values` holds every criterion (Envoy's `metadataLabelMatch`, lists not searched)."""
    for key, wanted in criteria.items():
        if key not in values or values[key] != wanted:
            return False
    return True
