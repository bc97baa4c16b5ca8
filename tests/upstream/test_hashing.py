"""Consistent hashing: the same hosts for the same keys as Envoy 1.40 (recorded from the real one)."""

from __future__ import annotations

import pytest
import xxhash

from outrider.config.runtime import NO_RUNTIME
from outrider.data.address import ip_address
from outrider.network.transport_socket import RAW_BUFFER
from outrider.stats.store import Store
from outrider.upstream.cluster_stats import ClusterStats
from outrider.upstream.host import FAILED_EDS_HEALTH, Host
from outrider.upstream.load_balancer.base import CommonLbSettings
from outrider.upstream.load_balancer.bounded_load import MersenneTwister
from outrider.upstream.load_balancer.hashing import HashLoadBalancer
from outrider.upstream.load_balancer.maglev import MaglevLoadBalancer
from outrider.upstream.load_balancer.ring_hash import RingHashLoadBalancer, murmur2_64
from outrider.upstream.load_balancer_context import LoadBalancerContext
from tests.upstream.fakes import Rolls, make_info, make_priorities

INFO = make_info()


class Keyed(LoadBalancerContext):
    def __init__(self, key: int | None, refused: str = "") -> None:
        self.key = key
        self.refused = refused

    def compute_hash_key(self) -> int | None:
        return self.key

    def host_selection_retry_count(self) -> int:
        return 5 if self.refused else 0

    def should_select_another_host(self, host: Host) -> bool:
        return host.address.text == self.refused


def hosts(*weights: int) -> list[Host]:
    group = []
    for index, weight in enumerate(weights):
        host = Host(INFO, ip_address("127.0.0.1", 25111 + index), RAW_BUFFER)
        host.weight = weight
        group.append(host)
    return group


def balancer(kind: str, group: list[Host], murmur: bool = False, hostname: bool = False) -> HashLoadBalancer:
    made: HashLoadBalancer
    store = Store()
    settings = CommonLbSettings()
    if kind == "ring":
        ring = RingHashLoadBalancer(
            make_priorities(group), ClusterStats(store), settings, NO_RUNTIME, Rolls(7), hostname
        )
        ring.configure(murmur, 1024, 8 * 1024 * 1024, store)
        made = ring
    else:
        table = MaglevLoadBalancer(
            make_priorities(group), ClusterStats(store), settings, NO_RUNTIME, Rolls(7), hostname
        )
        table.configure(65537, store)
        made = table
    made.start()
    return made


def picks(made: HashLoadBalancer) -> str:
    """The last digit of the port for the keys `key0` to `key29`, hashed as the router hashes a header."""
    found = ""
    for number in range(30):
        host = made.choose_host(Keyed(xxhash.xxh64_intdigest(f"key{number}".encode())))
        assert host is not None
        found += host.address.text[-1]
    return found


@pytest.mark.parametrize(
    ("kind", "weights", "murmur", "expected"),
    [
        ("ring", (1, 1, 1), False, "312131132232332123233133131213"),
        ("ring", (1, 1, 1), True, "223311313321133213222332211232"),
        ("ring", (3, 1, 1), False, "112111112231122121211133131313"),
        ("maglev", (1, 1, 1), False, "332131112311331123323333132323"),
        ("maglev", (5, 1, 1), False, "112111112111111111111131132111"),
    ],
)
def test_as_envoy(kind: str, weights: tuple[int, ...], murmur: bool, expected: str) -> None:
    assert picks(balancer(kind, hosts(*weights), murmur)) == expected


def test_ring_metrics() -> None:
    made = balancer("ring", hosts(3, 1, 1))
    assert isinstance(made, RingHashLoadBalancer)
    assert made.size is not None and made.min_hashes is not None and made.max_hashes is not None
    assert (made.size.value, made.min_hashes.value, made.max_hashes.value) == (1025, 205, 615)


def test_maglev_metrics() -> None:
    made = balancer("maglev", hosts(5, 1, 1))
    assert isinstance(made, MaglevLoadBalancer)
    assert made.min_entries is not None and made.max_entries is not None
    assert (made.min_entries.value, made.max_entries.value) == (9363, 46811)


@pytest.mark.parametrize("kind", ["ring", "maglev"])
def test_a_lost_host_moves_only_its_keys(kind: str) -> None:
    group = hosts(1, 1, 1, 1)
    before = picks(balancer(kind, group))
    group[0].set_health_flags(FAILED_EDS_HEALTH)
    after = picks(balancer(kind, group))
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert "1" not in after
    # The table is filled, or the ring divided, anew: a few others move, too.
    assert len([old for old in moved if old != "1"]) <= 6


@pytest.mark.parametrize("kind", ["ring", "maglev"])
def test_another_attempt_finds_another_host(kind: str) -> None:
    made = balancer(kind, hosts(1, 1, 1))
    first = made.choose_host(Keyed(12345))
    assert first is not None
    other = made.choose_host(Keyed(12345, refused=first.address.text))
    assert other is not None and other is not first


def test_without_a_key_the_lot_decides() -> None:
    made = balancer("maglev", hosts(1, 1, 1))
    assert made.choose_host(Keyed(None)) is made.choose_host(Keyed(7))


def test_hosts_may_be_known_by_name_or_metadata() -> None:
    group = hosts(1, 1, 1)
    for host, name in zip(group, ("x", "y", "z"), strict=True):
        host.hostname = name
    named = picks(balancer("ring", group, hostname=True))
    for host, name in zip(group, ("x", "y", "z"), strict=True):
        host.metadata = {"envoy.lb": {"hash_key": name}}
    assert picks(balancer("ring", group)) == named
    assert named != "312131132232332123233133131213"


def test_no_hosts() -> None:
    assert balancer("ring", []).choose_host(Keyed(1)) is None


def test_murmur_is_libstdcxx() -> None:
    # std::hash<std::string>{}("") and ("a") of libstdc++ on x86-64.
    assert murmur2_64(b"") == 6142509188972423790
    assert murmur2_64(b"a") == 4993892634952068459


def test_the_twister_is_the_standard_one() -> None:
    # std::mt19937 of the C++ standard: the 10000th number with the default seed, [rand.predef].
    twister = MersenneTwister(5489)
    for _ in range(9999):
        twister.next()
    assert twister.next() == 4123659995


def bounded(group: list[Host], factor: int, active: int) -> HashLoadBalancer:
    made = balancer("maglev", group)
    made.balance_factor = factor
    made.stats.upstream_rq_active.set(active)
    made.refresh(0)
    return made


def test_a_full_host_passes_its_keys_on() -> None:
    group = hosts(1, 1, 1)
    made = bounded(group, 100, 8)
    first = made.choose_host(Keyed(12345))
    assert first is not None
    # Nine in all: three slots each.
    first.stats.rq_active.set(3)
    assert made.choose_host(Keyed(12345)) is first
    first.stats.rq_active.set(4)
    second = made.choose_host(Keyed(12345))
    assert second is not None and second is not first
    # The same key goes to the same other host.
    assert made.choose_host(Keyed(12345)) is second
    second.stats.rq_active.set(4)
    third = made.choose_host(Keyed(12345))
    assert third not in (None, first, second)
    # All are full: the least full of them.
    assert third is not None
    third.stats.rq_active.set(9)
    second.stats.rq_active.set(5)
    assert made.choose_host(Keyed(12345)) is first


def test_weights_give_slots() -> None:
    group = hosts(8, 1, 1)
    made = bounded(group, 100, 9)
    group[0].stats.rq_active.set(8)
    heavy = [key for key in range(200) if made.choose_host(Keyed(key)) is group[0]]
    assert heavy
    group[0].stats.rq_active.set(9)
    assert all(made.choose_host(Keyed(key)) is not group[0] for key in heavy)
