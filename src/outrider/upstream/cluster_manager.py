"""All clusters of a worker, by name (Envoy's thread-local cluster manager)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.hosts_update import HostsUpdate


@mypyc_attr(allow_interpreted_subclasses=True)
class ClusterCallbacks:
    """Told of clusters that come and go."""

    def on_cluster_added(self, cluster: Cluster) -> None:
        """New, or replaced."""

    def on_cluster_removed(self, name: str) -> None:
        """Gone; its streams go on."""


class ClusterManager:
    """The clusters that serve. `get` is the one call on the road."""

    __slots__ = ("_clusters", "_callbacks", "local_cluster_name")

    def __init__(self) -> None:
        self._clusters: dict[str, Cluster] = {}
        self._callbacks: list[ClusterCallbacks] = []
        # `cluster_manager.local_cluster_name`: the cluster this proxy itself belongs to (zone-aware routing).
        self.local_cluster_name: str = ""

    def get(self, name: str) -> Cluster | None:
        """The cluster of that name, None when there is none."""
        return self._clusters.get(name)

    def clusters(self) -> list[Cluster]:
        """All, in the order in which they were added."""
        return list(self._clusters.values())

    def has(self, name: str) -> bool:
        return name in self._clusters

    def add(self, cluster: Cluster) -> None:
        """Add, or replace the cluster of the same name (whose connections drain)."""
        name = cluster.info.name
        old = self._clusters.get(name)
        self._clusters[name] = cluster
        if old is not None:
            old.drain()
        for callbacks in list(self._callbacks):
            callbacks.on_cluster_added(cluster)

    def remove(self, name: str) -> bool:
        """Take a cluster away; False when there was none. Its connections drain."""
        old = self._clusters.pop(name, None)
        if old is None:
            return False
        old.drain()
        for callbacks in list(self._callbacks):
            callbacks.on_cluster_removed(name)
        return True

    def apply_hosts(self, update: HostsUpdate) -> None:
        """New hosts from the control half; ignored for a cluster that is gone."""
        cluster = self._clusters.get(update.cluster)
        if cluster is not None:
            cluster.apply_hosts(update)

    def on_runtime_changed(self) -> None:
        """To be called whenever runtime values have changed."""
        for cluster in self._clusters.values():
            cluster.on_runtime_changed()

    def add_callbacks(self, callbacks: ClusterCallbacks) -> None:
        self._callbacks.append(callbacks)

    def remove_callbacks(self, callbacks: ClusterCallbacks) -> None:
        if callbacks in self._callbacks:
            self._callbacks.remove(callbacks)
