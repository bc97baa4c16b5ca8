"""All clusters of a worker, by name (Envoy's thread-local cluster manager)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.hosts_update import HostsUpdate


@mypyc_attr(allow_interpreted_subclasses=True)
class ClusterCallbacks:
    """Told of clusters that come and go."""

    def on_cluster_added(self, cluster: Cluster) -> None:
        """New, or replaced."""

    def on_cluster_removed(self, name: str) -> None:
        """Gone; its streams go on."""

    def on_cluster_available(self, name: str) -> None:
        """`get` finds a cluster of that name from now on, be it made already or not."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ClusterSource:
    """Makes clusters when they are asked for: main, which sends few requests, need not hold them all."""

    def has(self, name: str) -> bool:
        """Whether there is such a cluster, made or not."""
        raise NotImplementedError

    def make(self, name: str) -> Cluster | None:
        """The cluster, with its hosts; None when there is none."""
        raise NotImplementedError

    def take_discovered(self, view: View, version: str) -> None:
        """In main: a cluster that was discovered on demand. Raises ConfigError."""

    def drop_discovered(self, name: str) -> None:
        """In main: the source says that there is no such cluster (any more)."""


class ClusterManager:
    """The clusters that serve. `get` is the one call on the road."""

    __slots__ = ("_clusters", "_callbacks", "local_cluster_name", "source")

    def __init__(self) -> None:
        self._clusters: dict[str, Cluster] = {}
        self._callbacks: list[ClusterCallbacks] = []
        # `cluster_manager.local_cluster_name`: the cluster this proxy itself belongs to (zone-aware routing).
        self.local_cluster_name: str = ""
        # In main.
        self.source: ClusterSource | None = None

    def get(self, name: str) -> Cluster | None:
        """The cluster of that name, None when there is none."""
        found = self._clusters.get(name)
        if found is None and self.source is not None:
            found = self.source.make(name)
            if found is not None:
                self._clusters[name] = found
        return found

    def clusters(self) -> list[Cluster]:
        """All, in the order in which they were added."""
        return list(self._clusters.values())

    def has(self, name: str) -> bool:
        return name in self._clusters or (self.source is not None and self.source.has(name))

    def made(self, name: str) -> bool:
        """Whether the cluster exists already, and not only in `source`."""
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
        if old is None:
            self.announce(name)

    def announce(self, name: str) -> None:
        """A cluster of that name is there, perhaps only in `source`."""
        for callbacks in list(self._callbacks):
            callbacks.on_cluster_available(name)

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
