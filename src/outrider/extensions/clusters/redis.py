"""envoy.clusters.redis: the servers of a Redis cluster, found by asking one of them which has which hash slots.

Source: Envoy documentation, "Redis", "Redis Cluster support"; the Redis cluster specification. Main asks; the slots
reach the workers as metadata of the hosts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from outrider.data.address import KIND_IP, Address
from outrider.extensions.clusters.original_dst import parse_address
from outrider.extensions.filters.network.redis_proxy.resp import Failure, ProtocolError, RespReader, encode_command
from outrider.upstream.cluster import Cluster
from outrider.upstream.cluster_type import CLUSTER_TYPES, ClusterType, ClusterTypeContext
from outrider.upstream.connector import HostConnector
from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.discovery import Discovery
from outrider.upstream.hosts_update import HostsUpdate

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.event.dispatcher import Dispatcher
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control.cluster_control import ClusterControl
    from outrider.upstream.control_link import ControlLink
    from outrider.upstream.host import Host
    from outrider.upstream.load_balancer_context import LoadBalancerContext

SLOTS: Final = 16384
NAMESPACE: Final = "envoy.redis"

# Which servers of a slot may answer commands that change nothing (`ReadPolicy`).
READ_MASTER: Final = 0
READ_PREFER_MASTER: Final = 1
READ_REPLICA: Final = 2
READ_PREFER_REPLICA: Final = 3
READ_ANY: Final = 4


class RedisClusterSettings:
    """Times in milliseconds."""

    __slots__ = ("refresh_ms", "timeout_ms")

    def __init__(self) -> None:
        self.refresh_ms: int = 60_000
        self.timeout_ms: int = 3_000


class ServerSlots:
    """One server of the cluster."""

    __slots__ = ("address", "master", "ranges")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.master: bool = False
        self.ranges: list[tuple[int, int]] = []


def read_slots(value: object, asked: Address) -> list[ServerSlots]:
    """The answer to CLUSTER SLOTS; raises ValueError for anything else."""
    if not isinstance(value, list):
        raise ValueError("no slots")
    servers: dict[str, ServerSlots] = {}
    for entry in value:
        if not isinstance(entry, list) or len(entry) < 3:
            raise ValueError("malformed slots")
        start, end = entry[0], entry[1]
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end < SLOTS:
            raise ValueError("malformed slot range")
        for position, node in enumerate(entry[2:]):
            if not isinstance(node, list) or len(node) < 2 or not isinstance(node[1], int):
                raise ValueError("malformed server")
            host = node[0].decode("latin-1") if isinstance(node[0], bytes) else ""
            # A server that does not know its own address.
            address = parse_address(f"{host}:{node[1]}") if host else Address(KIND_IP, asked.host, node[1])
            if address is None:
                address = parse_address(f"[{host}]:{node[1]}")
            if address is None:
                raise ValueError("a server without IP address")
            server = servers.setdefault(address.text, ServerSlots(address))
            server.master = server.master or position == 0
            server.ranges.append((start, end))
    return list(servers.values())


class _Exchange(asyncio.Protocol):
    """One connection with one question."""

    def __init__(self, data: bytes, answers: int, done: Callable[[object], None]) -> None:
        self.data = data
        # How many answers come; the last one counts.
        self.answers = answers
        self.done = done
        self.reader = RespReader(False)

    def connection_made(self, transport: Any) -> None:
        transport.write(self.data)

    def data_received(self, data: bytes) -> None:
        try:
            values = self.reader.feed(data)
        except ProtocolError as error:
            self.done(error)
            return
        for value in values:
            self.answers -= 1
            if self.answers == 0:
                self.done(value)

    def connection_lost(self, error: Exception | None) -> None:
        self.done(error or ConnectionResetError())


class RedisDiscovery(Discovery):
    """Asks again and again, each time any of the servers known so far."""

    def __init__(self, control: ClusterControl, settings: RedisClusterSettings) -> None:
        self.control = control
        self.settings = settings
        self.dispatcher: Dispatcher = control.context.dispatcher
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = self.dispatcher.spawn(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await self.refresh()
            # Soon again while there is nothing.
            wait = self.settings.refresh_ms if self.control.hosts else min(self.settings.refresh_ms, 1_000)
            await asyncio.sleep(wait / 1000)

    async def refresh(self) -> None:
        """Ask once, of each server in turn until one answers."""
        control = self.control
        stats = control.info.stats
        stats.update_attempt.inc()
        for address in await self._candidates():
            try:
                value = await asyncio.wait_for(self._ask(address), self.settings.timeout_ms / 1000)
                servers = read_slots(value, address)
            except (TimeoutError, OSError, ValueError, ProtocolError):
                continue
            if servers:
                stats.update_success.inc()
                control.set_hosts([self._host(each) for each in servers])
                return
        stats.update_failure.inc()
        if not control.resolved:
            control.set_hosts([])

    async def _candidates(self) -> list[Address]:
        known = [host.address for host in self.control.hosts.values()]
        random.shuffle(known)
        for endpoint in self.control.info.config.assignment.endpoints:
            literal = endpoint.address.literal()
            if literal is not None:
                known.append(literal)
                continue
            try:
                found = await self.dispatcher.loop.getaddrinfo(endpoint.address.host, endpoint.address.port)
            except OSError:
                continue
            known += [Address(KIND_IP, str(each[4][0]), endpoint.address.port) for each in found[:1]]
        return known

    async def _ask(self, address: Address) -> object:
        """Raises OSError, ProtocolError or ValueError."""
        loop = self.dispatcher.loop
        future: asyncio.Future[object] = loop.create_future()
        auth = self.control.info.config.redis_auth
        commands = [] if auth is None else [[b"AUTH", *auth]]
        commands.append([b"CLUSTER", b"SLOTS"])
        data = b"".join([encode_command(each) for each in commands])

        def settle(value: object) -> None:
            if not future.done():
                future.set_result(value)

        transport, _ = await loop.create_connection(
            lambda: _Exchange(data, len(commands), settle), address.host, address.port
        )
        try:
            value = await future
        finally:
            transport.close()
        if isinstance(value, Exception):
            raise value
        if isinstance(value, Failure):
            raise ValueError(value.text.decode("latin-1"))
        return value

    def _host(self, server: ServerSlots) -> ControlHost:
        host = self.control.hosts.get(server.address.text)
        if host is None:
            host = ControlHost(server.address.text, server.address)
        ranges = ",".join([f"{start}-{end}" for start, end in server.ranges])
        host.metadata = {NAMESPACE: {"slots": ranges, "master": server.master}}
        return host


class RedisCluster(Cluster):
    """The worker's half: hosts by hash slot."""

    def __init__(self, info: ClusterInfo, context: FactoryContext, link: ControlLink) -> None:
        super().__init__(
            info, HostConnector(context.dispatcher, info.config.bind), context.runtime, link,
            arena=context.arena, column=context.worker_index,
        )
        self.masters: list[Host | None] = []
        self.replicas: dict[int, list[Host]] = {}

    def choose_host(self, context: LoadBalancerContext | None) -> Host | None:
        """The master of the slot that is the context's hash key; any server without one."""
        slot = None if context is None else context.compute_hash_key()
        if slot is None or not self.masters:
            return self.load_balancer.choose_host(context)
        return self.masters[slot % SLOTS]

    def choose_reader(self, slot: int, policy: int) -> Host | None:
        """For a command that changes nothing."""
        master = self.masters[slot] if self.masters else None
        replicas = self.replicas.get(slot, [])
        if policy == READ_MASTER or (policy == READ_PREFER_MASTER and master is not None):
            return master
        if policy == READ_ANY and master is not None:
            replicas = [master, *replicas]
        if replicas:
            return random.choice(replicas)
        return None if policy == READ_REPLICA else master

    def _replace_hosts(self, update: HostsUpdate) -> None:
        super()._replace_hosts(update)
        masters: list[Host | None] = [None] * SLOTS
        replicas: dict[int, list[Host]] = {}
        for host in self.hosts.values():
            facts = host.metadata.get(NAMESPACE, {})
            text = facts.get("slots")
            for part in text.split(",") if isinstance(text, str) and text else []:
                start, _, end = part.partition("-")
                for slot in range(int(start), int(end) + 1):
                    if facts.get("master") is True:
                        masters[slot] = host
                    else:
                        replicas.setdefault(slot, []).append(host)
        self.masters = masters if self.hosts else []
        self.replicas = replicas


class RedisClusterType(ClusterType):
    """Both halves of it."""

    name = "envoy.clusters.redis"
    takes_assignment = True

    def __init__(self, settings: RedisClusterSettings) -> None:
        self.settings = settings

    def make_discovery(self, control: ClusterControl) -> Discovery:
        return RedisDiscovery(control, self.settings)

    def make_cluster(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None
    ) -> Cluster:
        return RedisCluster(info, context, link)


@CLUSTER_TYPES.register("envoy.clusters.redis", "envoy.extensions.clusters.redis.v3.RedisClusterConfig")
def create(config: View, context: ClusterTypeContext) -> ClusterType:
    settings = RedisClusterSettings()
    refresh = config.millis("cluster_refresh_rate")
    if refresh is not None:
        settings.refresh_ms = max(refresh, 1)
    timeout = config.millis("cluster_refresh_timeout")
    if timeout is not None:
        settings.timeout_ms = max(timeout, 1)
    # Commands follow redirections themselves, and the slots are asked for regularly: nothing depends on these.
    config.accept(
        "redirect_refresh_interval", "redirect_refresh_threshold", "failure_refresh_threshold",
        "host_degraded_refresh_threshold",
    )
    return RedisClusterType(settings)


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, which the Redis cluster specification takes for hash slots."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _TABLE[(crc >> 8) ^ byte]
    return crc


def _entry(index: int) -> int:
    crc = index << 8
    for _ in range(8):
        crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


_TABLE: Final[list[int]] = [_entry(index) for index in range(256)]
