"""Subsets: who is in which, and what happens when none fits (compared with Envoy 1.40)."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.runtime import NO_RUNTIME
from outrider.stats.store import Store
from outrider.upstream.cluster_stats import ClusterStats
from outrider.upstream.config.cluster_config import ClusterConfig, ClusterDefaults
from outrider.upstream.host import Host
from outrider.upstream.load_balancer.base import LoadBalancer
from outrider.upstream.load_balancer.factory import make_load_balancer
from outrider.upstream.load_balancer.subset import SubsetLoadBalancer
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.priority_set import PrioritySet
from tests.config.messages import CLUSTER, TYPE_URL, view_of
from tests.upstream.fakes import FakeClock, Rolls, make_host, make_info, make_priorities

INFO = make_info()
SELECTORS = [{"keys": ["v"]}, {"keys": ["stage", "v"]}, {"keys": ["stage"]}]


class Wants(LoadBalancerContext):
    def __init__(self, criteria: dict[str, object] | None) -> None:
        self.criteria = criteria

    def metadata_match(self) -> dict[str, object] | None:
        return self.criteria


def host(port: int, **metadata: object) -> Host:
    made = make_host(port, INFO)
    made.metadata = {"envoy.lb": dict(metadata)}
    return made


def hosts() -> list[Host]:
    return [
        host(1, v="1", stage="prod", l=["x", "y"]),
        host(2, v="2", stage="prod", l=["y"]),
        host(3, v="3", stage="dev"),
    ]


class World:
    def __init__(self, **subset: Any) -> None:
        fields = {"subset_selectors": SELECTORS} | subset
        view = view_of(CLUSTER, {"name": "c", "lb_subset_config": fields}, "cluster")
        policy = ClusterConfig.from_view(view, ClusterDefaults()).lb_policy
        assert view.unread() == []
        self.store = Store()
        self.stats = ClusterStats(self.store)
        self.priorities: PrioritySet = make_priorities(hosts())
        self.balancer: LoadBalancer = make_load_balancer(
            policy, self.priorities, self.stats, self.store, NO_RUNTIME, Rolls(0), FakeClock()
        )

    def ports(self, criteria: dict[str, object] | None, count: int = 6) -> set[int]:
        found = [self.balancer.choose_host(Wants(criteria)) for _ in range(count)]
        return {each.address.port for each in found if each is not None}


def test_matching_subsets() -> None:
    world = World()
    assert world.ports({"v": "1"}) == {1}
    assert world.ports({"stage": "prod"}) == {1, 2}
    assert world.ports({"v": "2", "stage": "prod"}) == {2}
    assert world.stats.lb_subsets_selected.value == 18
    assert (world.stats.lb_subsets_created.value, world.stats.lb_subsets_active.value) == (8, 8)


@pytest.mark.parametrize("criteria", [{"v": "9"}, {"stage": "q", "v": "1"}, {"other": "1"}, None])
def test_no_fallback(criteria: dict[str, object] | None) -> None:
    assert World().ports(criteria) == set()


def test_any_endpoint() -> None:
    world = World(fallback_policy="ANY_ENDPOINT")
    assert world.ports({"v": "9"}) == {1, 2, 3}
    assert world.ports(None) == {1, 2, 3}
    assert world.stats.lb_subsets_fallback.value == 12


def test_default_subset() -> None:
    world = World(fallback_policy="DEFAULT_SUBSET", default_subset={"stage": "dev"})
    assert world.ports({"v": "9"}) == {3}


def test_panic_mode() -> None:
    world = World(fallback_policy="DEFAULT_SUBSET", default_subset={"stage": "nope"}, panic_mode_any=True)
    assert world.ports({"v": "9"}) == {1, 2, 3}
    assert world.stats.lb_subsets_fallback_panic.value == 6


def test_fallback_of_a_selector() -> None:
    world = World(
        subset_selectors=[
            {"keys": ["v"], "fallback_policy": "ANY_ENDPOINT"},
            {"keys": ["stage", "v"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["stage"]},
            {"keys": ["stage"], "fallback_policy": "NO_FALLBACK"},
        ],
        fallback_policy="DEFAULT_SUBSET",
        default_subset={"stage": "dev"},
    )
    assert world.ports({"v": "9"}) == {1, 2, 3}
    assert world.ports({"stage": "prod", "v": "9"}) == {1, 2}
    assert world.ports({"stage": "q"}) == set()
    assert world.ports({"other": "1"}) == {3}
    assert world.stats.lb_subsets_fallback.value == 6


def test_lists() -> None:
    assert World(subset_selectors=[{"keys": ["l"]}]).ports({"l": "y"}) == set()
    world = World(subset_selectors=[{"keys": ["l"]}], list_as_any=True)
    assert world.ports({"l": "y"}) == {1, 2}
    assert world.ports({"l": "x"}) == {1}


def test_fallback_list() -> None:
    world = World(metadata_fallback_policy="FALLBACK_LIST")
    assert world.ports({"fallback_list": [{"v": "9"}, {"v": "3"}]}) == {3}
    assert world.ports({"stage": "prod", "fallback_list": [{"v": "3"}, {"v": "2"}]}) == {2}
    assert world.ports({"v": "1"}) == {1}


def test_updates() -> None:
    world = World()
    balancer = world.balancer
    assert isinstance(balancer, SubsetLoadBalancer)
    remaining = world.priorities.sets[0].hosts[1:]
    world.priorities.update(0, [*remaining, host(4, v="4", stage="prod")], {})
    balancer.refresh(0)
    assert world.ports({"v": "1"}) == set()
    assert world.ports({"stage": "prod"}) == {2, 4}
    # v=1 and stage=prod,v=1 are gone, v=4 and stage=prod,v=4 are new.
    assert (world.stats.lb_subsets_removed.value, world.stats.lb_subsets_created.value) == (2, 10)


def test_typed_policy() -> None:
    inner = {
        "typed_extension_config": {
            "name": "x",
            "typed_config": {"@type": TYPE_URL + "envoy.extensions.load_balancing_policies.random.v3.Random"},
        }
    }
    typed = {
        "@type": TYPE_URL + "envoy.extensions.load_balancing_policies.subset.v3.Subset",
        "subset_selectors": SELECTORS,
        "subset_lb_policy": {"policies": [inner]},
    }
    tree = {
        "name": "c",
        "load_balancing_policy": {"policies": [{"typed_extension_config": {"name": "s", "typed_config": typed}}]},
    }
    policy = ClusterConfig.from_view(view_of(CLUSTER, tree), ClusterDefaults()).lb_policy
    assert policy.kind == "RANDOM"
    assert policy.subset is not None
    assert [selector.keys for selector in policy.subset.selectors] == [["v"], ["stage", "v"], ["stage"]]


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"keys": ["a"], "fallback_policy": "KEYS_SUBSET"}, "fallback_keys_subset cannot be empty"),
        (
            {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["b"]},
            "fallback_keys_subset must be a subset of selector keys",
        ),
        (
            {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]},
            "fallback_keys_subset cannot be equal to keys",
        ),
        (
            {"keys": ["a"], "fallback_keys_subset": ["a"]},
            "fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy",
        ),
    ],
)
def test_refused(selector: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        World(subset_selectors=[selector])
