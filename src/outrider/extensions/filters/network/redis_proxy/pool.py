"""The connections of one worker to the servers of one cluster, one for each; redirections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.address import Address
from outrider.extensions.clusters.original_dst import parse_address
from outrider.extensions.clusters.redis import READ_MASTER, SLOTS, RedisCluster, crc16
from outrider.extensions.filters.network.redis_proxy.client import Ignored, RedisClient, Reply
from outrider.extensions.filters.network.redis_proxy.commands import READS
from outrider.extensions.filters.network.redis_proxy.resp import Failure
from outrider.stats.metrics import UNIT_MICROSECONDS, UNIT_MILLISECONDS, Counter
from outrider.upstream.host import Host
from outrider.upstream.load_balancer.ring_hash import murmur2_64
from outrider.upstream.load_balancer_context import LoadBalancerContext

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.upstream.cluster import Cluster

# A command follows this many redirections.
_MAX_REDIRECTIONS: Final = 3


def _stat_name(command: bytes) -> str:
    """As Envoy's statistics call a command."""
    return "unknown" if command == b"object" else command.decode("latin-1")


class KeyContext(LoadBalancerContext):
    """Chooses by a key."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key

    def compute_hash_key(self) -> int | None:
        return murmur2_64(self.key)


class SlotContext(LoadBalancerContext):
    """Chooses by a hash slot."""

    __slots__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot

    def compute_hash_key(self) -> int | None:
        return self.slot


class PoolSettings:
    """`RedisProxy.settings`. Times in milliseconds."""

    __slots__ = ("op_timeout_ms", "hashtagging", "redirection", "max_unknown", "command_stats", "read_policy")

    def __init__(self) -> None:
        self.op_timeout_ms: int = 0
        self.hashtagging: bool = False
        self.redirection: bool = False
        # Connections to servers that only redirections have named.
        self.max_unknown: int = 100
        self.command_stats: bool = False
        # READ_*, for Redis clusters.
        self.read_policy: int = READ_MASTER


class RedisPool:
    """One cluster's."""

    def __init__(self, cluster: Cluster, settings: PoolSettings, auth: list[bytes] | None) -> None:
        self.cluster = cluster
        self.settings = settings
        self.op_timeout_ms = settings.op_timeout_ms
        self.dispatcher: Dispatcher = cluster.connector.dispatcher
        # Arguments of AUTH for new connections.
        self.auth = auth
        self.clients: dict[str, RedisClient] = {}
        self.scope = cluster.info.scope.scope("redis_cluster.")
        self._unknown: dict[str, Host] = {}
        self._max_reached: Counter = self.scope.counter("max_upstream_unknown_connections_reached")
        for name in ("connection_rate_limited", "upstream_cx_drained", "upstream_resp3_hello_failure"):
            self.scope.counter(name)
        self._redirections: dict[Reply, int] = {}

    def send(self, key: bytes, arguments: list[bytes], reply: Reply) -> bool:
        """Send a command to the server of a key. False: there is none."""
        if self.settings.hashtagging:
            start = key.find(b"{")
            end = key.find(b"}", start + 1) if start >= 0 else -1
            if end > start + 1:
                key = key[start + 1 : end]
        cluster = self.cluster
        if isinstance(cluster, RedisCluster):
            slot = crc16(key) % SLOTS
            if self.settings.read_policy != READ_MASTER and arguments[0].lower() in READS:
                host = cluster.choose_reader(slot, self.settings.read_policy)
            else:
                host = cluster.choose_host(SlotContext(slot))
        else:
            host = cluster.choose_host(KeyContext(key))
        if host is None:
            self.cluster.info.stats.upstream_cx_none_healthy.inc()
            return False
        self.client(host).send(arguments, reply)
        return True

    def hosts(self) -> list[Host]:
        return self.cluster.priorities.all_hosts()

    def client(self, host: Host) -> RedisClient:
        client = self.clients.get(host.key)
        if client is None or client.host is not host:
            client = RedisClient(self, host)
            self.clients[host.key] = client
        return client

    def forget(self, client: RedisClient) -> None:
        if self.clients.get(client.host.key) is client:
            del self.clients[client.host.key]
            self._unknown.pop(client.host.key, None)

    def redirect(self, arguments: list[bytes], reply: Reply, value: object) -> bool:
        """Follow MOVED and ASK, when that is wanted. True: the answer will come from elsewhere."""
        if not self.settings.redirection or not isinstance(value, Failure):
            return False
        words = value.text.split()
        if len(words) != 3 or words[0] not in (b"MOVED", b"ASK"):
            self._redirections.pop(reply, None)
            return False
        count = self._redirections.get(reply, 0) + 1
        address = parse_address(words[2].decode("latin-1"))
        if address is None or count > _MAX_REDIRECTIONS:
            self._redirections.pop(reply, None)
            return False
        host = self._host_at(address)
        if host is None:
            return False
        self._redirections[reply] = count
        client = self.client(host)
        if words[0] == b"ASK":
            client.send([b"asking"], Ignored())
        self.cluster.info.stats.upstream_internal_redirect_succeeded_total.inc()
        client.send(arguments, reply)
        return True

    def settle(self, reply: Reply) -> None:
        """The reply has been answered for good."""
        self._redirections.pop(reply, None)

    def _host_at(self, address: Address) -> Host | None:
        host = self.cluster.priorities.by_address.get(address.text)
        if host is None:
            host = self._unknown.get(address.text)
        if host is None:
            if len(self._unknown) >= self.settings.max_unknown:
                self._max_reached.inc()
                return None
            host = Host(self.cluster.info, address, self.cluster.info.transport_socket_factory)
            self._unknown[address.text] = host
        return host

    def count(self, command: bytes, what: str) -> None:
        if self.settings.command_stats:
            self.scope.counter(f"upstream_commands.{_stat_name(command)}.{what}").inc()

    def time(self, command: bytes, micros: int) -> None:
        if self.settings.command_stats:
            name = f"upstream_commands.{_stat_name(command)}.latency"
            self.scope.histogram(name, UNIT_MICROSECONDS).record(micros)
            self.scope.histogram("upstream_commands.upstream_rq_time", UNIT_MILLISECONDS).record(micros // 1000)

    def close(self) -> None:
        for client in list(self.clients.values()):
            client.close()
