"""Dynamic clusters of a worker that nobody has used yet: kept as main sent them, and built when first asked for.

A proxy may know ten thousand clusters and send to a hundred. Envoy's `enable_deferred_cluster_creation` does the same.
"""

from __future__ import annotations

import marshal
from typing import Any, Final

from outrider.upstream.hosts_update import HostsUpdate

_FULL: Final = 1
_HEALTH_FLAGS: Final = 6


class DeferredCluster:
    """The `Cluster` message, and its hosts as `marshal` of HostsUpdate.plain(): bytes weigh little."""

    __slots__ = ("health", "hosts", "packed")

    def __init__(self, packed: bytes, hosts: Any) -> None:
        self.packed = packed
        self.hosts: bytes = marshal.dumps(hosts)
        # Flags that have changed since, by host.
        self.health: dict[str, int] | None = None

    def apply(self, plain: Any) -> None:
        """A HostsUpdate."""
        if plain[_FULL]:
            self.hosts = marshal.dumps(plain)
            self.health = None
        elif plain[_HEALTH_FLAGS]:
            if self.health is None:
                self.health = {}
            self.health.update(plain[_HEALTH_FLAGS])

    def updates(self) -> list[HostsUpdate]:
        """What a cluster built now is to be told."""
        found = [HostsUpdate.from_plain(marshal.loads(self.hosts))]
        if self.health:
            update = HostsUpdate(found[0].cluster)
            update.full = False
            update.drop_overload, update.drop_category = found[0].drop_overload, found[0].drop_category
            update.health_flags = dict(self.health)
            found.append(update)
        return found
