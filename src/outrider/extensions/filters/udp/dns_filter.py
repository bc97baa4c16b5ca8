"""envoy.filters.udp.dns_filter: answers DNS queries from a table and from clusters, or asks name servers.

Source: Envoy documentation, "DNS filter"; `dns_filter.<stat_prefix>.*`.
"""

from __future__ import annotations

from random import randrange
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from outrider.data.address import KIND_IP
from outrider.extensions.dns_cache.config import worker_resolvers
from outrider.extensions.filters.udp import dns_message as dns
from outrider.extensions.filters.udp.dns_message import Query, Record, address_record, srv_record
from outrider.extensions.filters.udp.dns_table import DEFAULT_TTL, DnsTable, Domain, is_v6, read_table
from outrider.network.dns.config import DNS_RESOLVERS, resolver_addresses
from outrider.network.dns.registry import DnsResolvers
from outrider.network.dns.resolver import DnsAnswer, DnsQuery, DnsResolverConfig, cares_config
from outrider.network.udp_filter import UDP_LISTENER_FILTERS, Peer, UdpListenerFilter, UdpListenerFilterFactory
from outrider.stats.metrics import UNIT_BYTES, UNIT_MILLISECONDS, Counter, Histogram

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.network.udp_listener import UdpAddress
    from outrider.stats.store import Scope
    from outrider.upstream.cluster_manager import ClusterManager

_COUNTERS: Final = (
    "a_record_queries", "aaaa_record_queries", "cluster_a_record_answers", "cluster_aaaa_record_answers",
    "cluster_srv_record_answers", "cluster_unsupported_answers", "downstream_rx_errors",
    "downstream_rx_invalid_queries", "downstream_rx_queries", "downstream_tx_responses", "external_a_record_answers",
    "external_a_record_queries", "external_aaaa_record_answers", "external_aaaa_record_queries",
    "external_unsupported_answers", "external_unsupported_queries", "externally_resolved_queries",
    "known_domain_queries", "local_a_record_answers", "local_aaaa_record_answers", "local_srv_record_answers",
    "local_unsupported_answers", "queries_with_additional_rrs", "queries_with_ans_or_authority_rrs",
    "query_buffer_underflow", "query_parsing_failure", "record_name_overflow", "srv_record_queries",
    "unanswered_queries", "unsupported_queries",
)  # fmt: skip
_NAMES: Final = {dns.TYPE_A: "a_record", dns.TYPE_AAAA: "aaaa_record", dns.TYPE_SRV: "srv_record"}
_PROBLEMS: Final = {
    dns.UNDERFLOW: "query_buffer_underflow", dns.RECORDS: "queries_with_ans_or_authority_rrs",
    dns.NAME_TOO_LONG: "record_name_overflow", dns.MALFORMED: "query_parsing_failure",
}  # fmt: skip


class DnsFilterStats:
    """`dns_filter.<stat_prefix>.*`"""

    def __init__(self, scope: Scope) -> None:
        self.counters: dict[str, Counter] = {name: scope.counter(name) for name in _COUNTERS}
        self.rx_bytes: Histogram = scope.histogram("downstream_rx_bytes", UNIT_BYTES)
        self.tx_bytes: Histogram = scope.histogram("downstream_tx_bytes", UNIT_BYTES)
        self.latency: Histogram = scope.histogram("downstream_rx_query_latency", UNIT_MILLISECONDS)

    def count(self, name: str) -> None:
        self.counters[name].inc()


class DnsFilterSettings:
    """What the filter was configured to do."""

    def __init__(self, stats: DnsFilterStats, table: DnsTable, clusters: ClusterManager) -> None:
        self.stats = stats
        self.table = table
        self.clusters = clusters
        # None: names that are not in the table are not resolved.
        self.resolver: DnsResolverConfig | None = None
        self.resolvers: DnsResolvers | None = None
        self.timeout_ms: int = 500
        self.max_pending: int = 256


class DnsFilter(UdpListenerFilter):
    """The filter of one listening socket."""

    def __init__(self, settings: DnsFilterSettings) -> None:
        self.settings = settings
        self.pending: set[_Lookup] = set()

    def initialize(self, listener: UdpAddress) -> None:
        self.listener: UdpAddress = listener

    def on_data(self, data: bytes, peer: Peer) -> bool:
        stats = self.settings.stats
        start_ns = monotonic_ns()
        stats.count("downstream_rx_queries")
        stats.rx_bytes.record(len(data))
        query = dns.parse_query(data)
        if query.problem:
            stats.count("downstream_rx_invalid_queries")
            if query.problem != dns.QUESTIONS:
                stats.count(_PROBLEMS[query.problem])
            self.respond(query, peer, dns.FORMAT_ERROR, [], [], start_ns)
            return False
        kind = _NAMES.get(query.kind)
        stats.count(f"{kind}_queries" if kind is not None else "unsupported_queries")
        if query.kind == dns.TYPE_SRV:
            self._service(query, peer, start_ns)
            return False
        domain = self.settings.table.find(query.name)
        if domain is not None:
            stats.count("known_domain_queries")
        if kind is None:
            # Envoy looks for someone who could answer, and finds that nobody can.
            stats.count("externally_resolved_queries")
            stats.count("external_unsupported_queries")
            self._unanswered(query, peer, dns.NOT_IMPLEMENTED, start_ns)
        elif domain is None:
            self._external(query, peer, start_ns)
        else:
            answers = self._local(domain, query.name, query.kind)
            if answers:
                self.respond(query, peer, dns.NO_ERROR, answers, [], start_ns)
            else:
                self._unanswered(query, peer, dns.NAME_ERROR, start_ns)
        return False

    def _local(self, domain: Domain, name: str, kind: int) -> list[Record]:
        """The table's own addresses, or those of its cluster."""
        v6 = kind == dns.TYPE_AAAA
        source = "cluster" if domain.cluster else "local"
        addresses = self._cluster_addresses(domain.cluster) if domain.cluster else domain.addresses
        ttl = domain.ttl
        answers = [address_record(name, address, ttl) for address in addresses if is_v6(address) == v6]
        for _ in answers:
            self.settings.stats.count(f"{source}_{_NAMES[kind]}_answers")
        if len(answers) > 1:
            # Clients take the first: it is another each time.
            start = randrange(len(answers))
            answers = answers[start:] + answers[:start]
        return answers

    def _cluster_addresses(self, name: str) -> list[str]:
        cluster = self.settings.clusters.get(name)
        if cluster is None:
            return []
        hosts = cluster.priorities.all_hosts()
        return [host.address.host for host in hosts if host.address.kind == KIND_IP]

    def _service(self, query: Query, peer: Peer, start_ns: int) -> None:
        settings = self.settings
        stats = settings.stats
        domain, service = settings.table.find_service(query.name)
        if domain is not None:
            stats.count("known_domain_queries")
        if service is None:
            stats.count("externally_resolved_queries")
            stats.count("external_unsupported_queries")
            self._unanswered(query, peer, dns.NAME_ERROR, start_ns)
            return
        answers: list[Record] = []
        additional: list[Record] = []
        for target in service.targets:
            if target.cluster:
                cluster = settings.clusters.get(target.cluster)
                for host in [] if cluster is None else cluster.priorities.all_hosts():
                    if host.address.kind != KIND_IP:
                        continue
                    port = target.port or host.address.port
                    answers.append(
                        srv_record(query.name, service.ttl, target.priority, target.weight, port, target.cluster)
                    )
                    additional.append(address_record(target.cluster, host.address.host, service.ttl))
                    stats.count("cluster_srv_record_answers")
                continue
            answers.append(
                srv_record(query.name, service.ttl, target.priority, target.weight, target.port, target.host)
            )
            stats.count("local_srv_record_answers")
            known = settings.table.find(target.host)
            for address in [] if known is None else known.addresses:
                additional.append(address_record(target.host, address, service.ttl))
        if answers:
            self.respond(query, peer, dns.NO_ERROR, answers, additional, start_ns)
        else:
            self._unanswered(query, peer, dns.NAME_ERROR, start_ns)

    # --- others' answers ---

    def _external(self, query: Query, peer: Peer, start_ns: int) -> None:
        settings = self.settings
        stats = settings.stats
        resolvers = settings.resolvers
        stats.count("externally_resolved_queries")
        stats.count(f"external_{_NAMES[query.kind]}_queries")
        if settings.resolver is None or resolvers is None or len(self.pending) >= settings.max_pending:
            self._unanswered(query, peer, dns.NAME_ERROR, start_ns)
            return
        lookup = _Lookup(self, query, peer, start_ns)
        self.pending.add(lookup)
        dispatcher = self.listener.dispatcher
        lookup.timer = dispatcher.call_later(settings.timeout_ms / 1000, lookup.expire)
        family = "V6_ONLY" if query.kind == dns.TYPE_AAAA else "V4_ONLY"
        lookup.query_handle = resolvers.get(settings.resolver).resolve(query.name, family, lookup.take)

    def on_external(self, lookup: _Lookup, answer: DnsAnswer | None) -> None:
        """What the name servers said, None when they said nothing in time."""
        self.pending.discard(lookup)
        query = lookup.query
        v6 = query.kind == dns.TYPE_AAAA
        found = [] if answer is None else [host for host, _ in answer.addresses if is_v6(host) == v6]
        answers = [address_record(query.name, host, DEFAULT_TTL) for host in found]
        for _ in answers:
            self.settings.stats.count(f"external_{_NAMES[query.kind]}_answers")
        if answers:
            self.respond(query, lookup.peer, dns.NO_ERROR, answers, [], lookup.start_ns)
        else:
            self._unanswered(query, lookup.peer, dns.NAME_ERROR, lookup.start_ns)

    # --- responses ---

    def _unanswered(self, query: Query, peer: Peer, code: int, start_ns: int) -> None:
        self.settings.stats.count("unanswered_queries")
        self.respond(query, peer, code, [], [], start_ns)

    def respond(
        self, query: Query, peer: Peer, code: int, answers: list[Record], additional: list[Record], start_ns: int
    ) -> None:
        stats = self.settings.stats
        data = dns.encode_response(query, code, answers, additional)
        self.listener.send(data, peer)
        stats.count("downstream_tx_responses")
        stats.tx_bytes.record(len(data))
        stats.latency.record((monotonic_ns() - start_ns) // 1_000_000)

    def on_close(self) -> None:
        for lookup in self.pending:
            lookup.cancel()
        self.pending.clear()


class _Lookup:
    """A query that name servers are asked for."""

    __slots__ = ("filter", "query", "peer", "start_ns", "timer", "query_handle", "done")

    def __init__(self, owner: DnsFilter, query: Query, peer: Peer, start_ns: int) -> None:
        self.filter = owner
        self.query = query
        self.peer = peer
        self.start_ns = start_ns
        self.timer: TimerHandle | None = None
        self.query_handle: DnsQuery | None = None
        self.done: bool = False

    def take(self, answer: DnsAnswer) -> None:
        if not self.done:
            self.cancel()
            self.filter.on_external(self, answer)

    def expire(self) -> None:
        if not self.done:
            self.cancel()
            self.filter.on_external(self, None)

    def cancel(self) -> None:
        self.done = True
        if self.timer is not None:
            self.timer.cancel()
        if self.query_handle is not None:
            self.query_handle.cancel()


class DnsFilterFactory(UdpListenerFilterFactory):
    """Makes the filter of each worker."""

    def __init__(self, settings: DnsFilterSettings) -> None:
        self.settings = settings

    def create(self) -> UdpListenerFilter:
        return DnsFilter(self.settings)


@UDP_LISTENER_FILTERS.register(
    "envoy.filters.udp.dns_filter", "envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig"
)
def create(config: View, context: FactoryContext) -> UdpListenerFilterFactory:
    """Raises ConfigError."""
    stats = DnsFilterStats(context.root_scope.scope(f"dns_filter.{config.text('stat_prefix')}."))
    ignore_case = config.flag("case_insensitive")
    server = config.message("server_config")
    if server is None:
        raise config.error("value is required", "server_config")
    table_view = server.message("inline_dns_table")
    table = DnsTable(ignore_case) if table_view is None else read_table(table_view, ignore_case)
    settings = DnsFilterSettings(stats, table, context.cluster_manager)
    client = config.message("client_config")
    if client is not None:
        timeout = client.millis("resolver_timeout")
        if timeout is not None:
            settings.timeout_ms = timeout
        settings.max_pending = client.integer("max_pending_lookups")
        settings.resolver = _resolver(client)
        settings.resolvers = worker_resolvers(context)
    return DnsFilterFactory(settings)


def _resolver(view: View) -> DnsResolverConfig:
    typed = view.message("typed_dns_resolver_config")
    if typed is not None:
        view.accept("dns_resolution_config", "upstream_resolvers")
        return DNS_RESOLVERS.create(typed, None)
    older = view.message("dns_resolution_config")
    if older is not None:
        view.accept("upstream_resolvers")
        options = older.message("dns_resolver_options")
        return cares_config(
            resolver_addresses(older.messages("resolvers")),
            use_tcp=options is not None and options.flag("use_tcp_for_dns_lookups"),
            no_search=options is not None and options.flag("no_default_search_domain"),
        )
    return cares_config(resolver_addresses(view.messages("upstream_resolvers")))
