"""What the Redis proxy was configured to do: routes by prefix, faults, mirrors, passwords, statistics."""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING

from outrider.extensions.filters.network.redis_proxy import commands
from outrider.extensions.filters.network.redis_proxy.pool import PoolSettings, RedisPool
from outrider.extensions.filters.network.redis_proxy.splitter import CommandStats
from outrider.network.connection import ConnectionStats
from outrider.stats.metrics import Counter, Gauge
from outrider.upstream.cluster_manager import ClusterCallbacks, ClusterManager

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.matching.runtime_fraction import RuntimeFraction
    from outrider.stats.store import Scope
    from outrider.upstream.cluster import Cluster


class Share:
    """How much of the traffic something applies to."""

    __slots__ = ("fraction",)

    def __init__(self, fraction: RuntimeFraction | None) -> None:
        # None: all of it.
        self.fraction = fraction

    def applies(self) -> bool:
        return self.fraction is None or self.fraction.enabled(getrandbits(64))


class RedisFault(Share):
    __slots__ = ("error", "delay_ms", "commands")

    def __init__(
        self, fraction: RuntimeFraction | None, error: bool, delay_ms: int, names: frozenset[bytes]
    ) -> None:
        super().__init__(fraction)
        self.error = error
        self.delay_ms = delay_ms
        # Empty: all.
        self.commands = names


class Mirror(Share):
    __slots__ = ("cluster", "exclude_reads")

    def __init__(self, fraction: RuntimeFraction | None, cluster: str, exclude_reads: bool) -> None:
        super().__init__(fraction)
        self.cluster = cluster
        self.exclude_reads = exclude_reads


class RedisRoute:
    """Where the keys of one prefix go."""

    __slots__ = ("prefix", "remove_prefix", "cluster", "read_cluster", "mirrors", "key_format", "rewrites")

    def __init__(self, prefix: bytes, cluster: str) -> None:
        self.prefix = prefix
        self.cluster = cluster
        self.remove_prefix: bool = False
        # For commands that change nothing; empty: the same.
        self.read_cluster: str = ""
        self.mirrors: list[Mirror] = []
        # `key_formatter`, in which %KEY% stands for the key.
        self.key_format: bytes = b""
        self.rewrites: bool = False

    def cluster_for(self, command: bytes) -> str:
        return self.read_cluster if self.read_cluster and command in commands.READS else self.cluster

    def rewrite(self, key: bytes) -> bytes:
        if self.remove_prefix:
            key = key[len(self.prefix) :]
        return self.key_format.replace(b"%KEY%", key) if self.key_format else key


class RedisRoutes:
    """By the longest prefix; one dict probe for each distinct length."""

    def __init__(self, routes: list[RedisRoute], catch_all: RedisRoute | None, case_insensitive: bool) -> None:
        self.catch_all = catch_all
        self.case_insensitive = case_insensitive
        self.by_prefix: dict[bytes, RedisRoute] = {
            (route.prefix.lower() if case_insensitive else route.prefix): route for route in routes
        }
        self.lengths: list[int] = sorted({len(prefix) for prefix in self.by_prefix}, reverse=True)

    def find(self, key: bytes) -> RedisRoute | None:
        if self.case_insensitive:
            key = key.lower()
        for length in self.lengths:
            if length <= len(key):
                route = self.by_prefix.get(key[:length])
                if route is not None:
                    return route
        return self.catch_all

    def clusters(self, catch_all_first: bool) -> list[str]:
        """The names of all clusters, each once."""
        routes = list(self.by_prefix.values())
        if self.catch_all is not None:
            routes.insert(0, self.catch_all)
        names: list[str] = []
        for route in routes:
            if route.cluster not in names:
                names.append(route.cluster)
        # A command without a key goes to the servers of the catch-all route, where there is one.
        return names[:1] if catch_all_first and self.catch_all is not None else names


class RedisStats:
    """`redis.<stat_prefix>.*`"""

    def __init__(self, scope: Scope) -> None:
        self.cx_active: Gauge = scope.gauge("downstream_cx_active")
        self.cx_total: Counter = scope.counter("downstream_cx_total")
        self.cx_protocol_error: Counter = scope.counter("downstream_cx_protocol_error")
        self.cx_drain_close: Counter = scope.counter("downstream_cx_drain_close")
        self.rq_active: Gauge = scope.gauge("downstream_rq_active")
        self.rq_total: Counter = scope.counter("downstream_rq_total")
        self.rq_noproto: Counter = scope.counter("downstream_rq_noproto")
        self.invalid: Counter = scope.counter("splitter.invalid_request")
        self.unsupported: Counter = scope.counter("splitter.unsupported_command")
        self.connection = ConnectionStats(
            scope.counter("downstream_cx_rx_bytes_total"),
            scope.gauge("downstream_cx_rx_bytes_buffered"),
            scope.counter("downstream_cx_tx_bytes_total"),
            scope.gauge("downstream_cx_tx_bytes_buffered"),
        )


class RedisSettings(ClusterCallbacks):
    """One filter's configuration with its pools in this worker."""

    def __init__(self, stats: RedisStats, scope: Scope, clusters: ClusterManager, dispatcher: Dispatcher) -> None:
        self.stats = stats
        self.scope = scope
        self.clusters = clusters
        self.dispatcher = dispatcher
        self.pool_settings = PoolSettings()
        self.routes = RedisRoutes([], None, False)
        self.faults: list[RedisFault] = []
        self.passwords: list[bytes] = []
        self.username: bytes = b""
        self.kinds: dict[bytes, int] = dict(commands.KINDS)
        self.command_stats: dict[bytes, CommandStats] = {}
        self._pools: dict[str, RedisPool] = {}
        clusters.add_callbacks(self)

    def count_commands(self, micros: bool) -> None:
        """Make the statistics of all commands that are known now."""
        for name in self.kinds:
            self.command_stats[name] = CommandStats(self.scope, name.decode("latin-1"), micros)

    def pool(self, name: str) -> RedisPool | None:
        pool = self._pools.get(name)
        if pool is None:
            cluster = self.clusters.get(name)
            if cluster is None:
                return None
            pool = RedisPool(cluster, self.pool_settings, cluster.info.config.redis_auth)
            self._pools[name] = pool
        return pool

    def new_pool(self, name: str) -> RedisPool | None:
        """One that a transaction has for itself."""
        cluster = self.clusters.get(name)
        return None if cluster is None else RedisPool(cluster, self.pool_settings, cluster.info.config.redis_auth)

    def on_cluster_added(self, cluster: Cluster) -> None:
        self.on_cluster_removed(cluster.info.name)

    def on_cluster_removed(self, name: str) -> None:
        pool = self._pools.pop(name, None)
        if pool is not None:
            pool.close()
