"""Load balancing policies: the enum with its settings, and the list of `load_balancing_policy`."""

from __future__ import annotations

from typing import Final

from outrider.config.view import View
from outrider.registry import ExtensionRegistry
from outrider.upstream.cluster_type import ClusterType
from outrider.upstream.load_balancer.base import CommonLbSettings
from outrider.upstream.load_balancer.subset import SubsetSelector, SubsetSettings
from outrider.upstream.load_balancer.weighted import SlowStart

ROUND_ROBIN: Final = "ROUND_ROBIN"
LEAST_REQUEST: Final = "LEAST_REQUEST"
RANDOM: Final = "RANDOM"
RING_HASH: Final = "RING_HASH"
MAGLEV: Final = "MAGLEV"
# The cluster chooses by itself.
CLUSTER_PROVIDED: Final = "CLUSTER_PROVIDED"

DEFAULT_MIN_RING: Final = 1024
DEFAULT_MAX_RING: Final = 8 * 1024 * 1024
DEFAULT_MAGLEV_TABLE: Final = 65537


class LbPolicy:
    """One policy with all that any policy can be told."""

    __slots__ = (
        "kind", "common", "slow_start", "choices", "bias", "bias_key", "full_scan", "murmur", "min_ring", "max_ring",
        "table_size", "hash_hostname", "balance_factor", "subset",
    )

    def __init__(self, kind: str, common: CommonLbSettings) -> None:
        self.kind = kind
        self.common = common
        self.slow_start: SlowStart | None = None
        # LEAST_REQUEST
        self.choices: int = 2
        self.bias: float = 1.0
        self.bias_key: str = ""
        self.full_scan: bool = False
        # RING_HASH
        self.murmur: bool = False
        self.min_ring: int = DEFAULT_MIN_RING
        self.max_ring: int = DEFAULT_MAX_RING
        # MAGLEV
        self.table_size: int = DEFAULT_MAGLEV_TABLE
        self.hash_hostname: bool = False
        # Per cent of the average load that a host may have; 0 = any.
        self.balance_factor: int = 0
        # This policy within subsets.
        self.subset: SubsetSettings | None = None


class PolicyContext:
    """What a policy's factory is given: settings that its `locality_lb_config` may change."""

    __slots__ = ("common",)

    def __init__(self, common: CommonLbSettings) -> None:
        self.common = common


LB_POLICIES: Final[ExtensionRegistry[LbPolicy]] = ExtensionRegistry("envoy.load_balancing_policies")
_PREFIX: Final = "envoy.extensions.load_balancing_policies."


def read_common(view: View | None) -> CommonLbSettings:
    """`common_lb_config`, as far as balancers are concerned."""
    settings = CommonLbSettings()
    if view is None:
        return settings
    if view.has("healthy_panic_threshold"):
        settings.panic_threshold = int(view.number("healthy_panic_threshold"))
    if view.message("locality_weighted_lb_config") is not None:
        settings.locality_weighted = True
    zone = view.message("zone_aware_lb_config")
    if zone is not None:
        _zone_aware(zone, settings)
    elif not settings.locality_weighted:
        # Envoy routes by zone unless told otherwise; it takes a local cluster to matter.
        settings.zone_aware = True
    return settings


def _zone_aware(view: View, settings: CommonLbSettings) -> None:
    settings.zone_aware = True
    settings.zone_routing_percent = view.number("routing_enabled", 100.0)
    settings.zone_min_cluster_size = view.integer("min_cluster_size", 6)
    settings.fail_traffic_on_panic = view.flag("fail_traffic_on_panic")


def _locality(view: View | None, context: PolicyContext) -> CommonLbSettings:
    """`locality_lb_config` of a typed policy: `common_lb_config`'s locality settings do not count then."""
    settings = CommonLbSettings()
    settings.panic_threshold = context.common.panic_threshold
    if view is None:
        return settings
    zone = view.message("zone_aware_lb_config")
    if zone is not None:
        _zone_aware(zone, settings)
        settings.zone_by_healthy_hosts_weight = zone.enum("locality_basis") == "HEALTHY_HOSTS_WEIGHT"
        force = zone.message("force_local_zone")
        if force is not None:
            settings.force_local_zone = True
            settings.force_local_zone_min_size = force.integer("min_size", 1)
        elif zone.flag("force_locality_direct_routing"):
            settings.force_local_zone = True
    if view.message("locality_weighted_lb_config") is not None:
        settings.locality_weighted = True
    return settings


def _slow_start(view: View | None) -> SlowStart | None:
    if view is None:
        return None
    window = view.millis("slow_start_window")
    if not window:
        return None
    slow_start = SlowStart(window)
    aggression = view.message("aggression")
    if aggression is not None:
        slow_start.aggression = slow_start.aggression_default = max(aggression.number("default_value"), 1e-9)
        slow_start.aggression_key = aggression.text("runtime_key")
    slow_start.min_percent = view.number("min_weight_percent", 10.0)
    return slow_start


def _bias(view: View | None, policy: LbPolicy) -> None:
    if view is not None:
        policy.bias = view.number("default_value")
        policy.bias_key = view.text("runtime_key")
        if policy.bias < 0:
            raise view.error(f"unexpected active request bias supplied via runtime: {policy.bias}", "default_value")


def _ring_sizes(view: View, policy: LbPolicy) -> None:
    policy.min_ring = view.integer("minimum_ring_size", DEFAULT_MIN_RING)
    policy.max_ring = view.integer("maximum_ring_size", DEFAULT_MAX_RING)
    policy.murmur = view.enum("hash_function") == "MURMUR_HASH_2"
    if policy.min_ring > policy.max_ring:
        raise view.error(
            f"ring hash: minimum_ring_size ({policy.min_ring}) > maximum_ring_size ({policy.max_ring})"
        )


def _table_size(view: View, policy: LbPolicy) -> None:
    policy.table_size = view.integer("table_size", DEFAULT_MAGLEV_TABLE)
    size = policy.table_size
    if size < 2 or any(size % divisor == 0 for divisor in range(2, int(size**0.5) + 1)):
        raise view.error("The table size of maglev must be prime number", "table_size")


@LB_POLICIES.register("envoy.load_balancing_policies.round_robin", _PREFIX + "round_robin.v3.RoundRobin")
def _round_robin(view: View, context: PolicyContext) -> LbPolicy:
    policy = LbPolicy(ROUND_ROBIN, _locality(view.message("locality_lb_config"), context))
    policy.slow_start = _slow_start(view.message("slow_start_config"))
    return policy


@LB_POLICIES.register("envoy.load_balancing_policies.least_request", _PREFIX + "least_request.v3.LeastRequest")
def _least_request(view: View, context: PolicyContext) -> LbPolicy:
    policy = LbPolicy(LEAST_REQUEST, _locality(view.message("locality_lb_config"), context))
    policy.slow_start = _slow_start(view.message("slow_start_config"))
    policy.choices = view.integer("choice_count", 2)
    _bias(view.message("active_request_bias"), policy)
    policy.full_scan = view.enum("selection_method") == "FULL_SCAN" or view.flag("enable_full_scan")
    return policy


@LB_POLICIES.register("envoy.load_balancing_policies.random", _PREFIX + "random.v3.Random")
def _random(view: View, context: PolicyContext) -> LbPolicy:
    return LbPolicy(RANDOM, _locality(view.message("locality_lb_config"), context))


def _hashing(view: View, policy: LbPolicy) -> None:
    consistent = view.message("consistent_hashing_lb_config")
    if consistent is not None:
        policy.hash_hostname = consistent.flag("use_hostname_for_hashing")
        policy.balance_factor = consistent.integer("hash_balance_factor")
    if view.message("locality_weighted_lb_config") is not None:
        policy.common.locality_weighted = True


@LB_POLICIES.register("envoy.load_balancing_policies.ring_hash", _PREFIX + "ring_hash.v3.RingHash")
def _ring_hash(view: View, context: PolicyContext) -> LbPolicy:
    policy = LbPolicy(RING_HASH, _locality(None, context))
    _ring_sizes(view, policy)
    _hashing(view, policy)
    policy.hash_hostname = policy.hash_hostname or view.flag("use_hostname_for_hashing")
    policy.balance_factor = policy.balance_factor or view.integer("hash_balance_factor")
    return policy


@LB_POLICIES.register("envoy.load_balancing_policies.maglev", _PREFIX + "maglev.v3.Maglev")
def _maglev(view: View, context: PolicyContext) -> LbPolicy:
    policy = LbPolicy(MAGLEV, _locality(None, context))
    _table_size(view, policy)
    _hashing(view, policy)
    return policy


@LB_POLICIES.register("envoy.load_balancing_policies.wrr_locality", _PREFIX + "wrr_locality.v3.WrrLocality")
def _wrr_locality(view: View, context: PolicyContext) -> LbPolicy:
    """Localities by weight, then the policy for their endpoints."""
    inner = view.message("endpoint_picking_policy")
    if inner is None:
        raise view.error("is required", "endpoint_picking_policy")
    policy = _first_known(inner, context, view.path)
    policy.common.locality_weighted = True
    policy.common.zone_aware = False
    return policy


@LB_POLICIES.register("envoy.load_balancing_policies.subset", _PREFIX + "subset.v3.Subset")
def _subset(view: View, context: PolicyContext) -> LbPolicy:
    inner = view.message("subset_lb_policy")
    if inner is None:
        raise view.error("is required", "subset_lb_policy")
    policy = _first_known(inner, context, view.path)
    policy.subset = _read_subset(view)
    # Redundant keys make no difference: what a selector needs is all in it.
    view.flag("allow_redundant_keys")
    return policy


def _read_subset(view: View) -> SubsetSettings:
    """`LbSubsetConfig`, or the typed policy, whose fields have the same names."""
    settings = SubsetSettings()
    settings.fallback = view.enum("fallback_policy")
    settings.default_subset = view.struct("default_subset") or {}
    settings.locality_weight_aware = view.flag("locality_weight_aware")
    settings.scale_locality_weight = view.flag("scale_locality_weight")
    settings.panic_mode_any = view.flag("panic_mode_any")
    settings.list_as_any = view.flag("list_as_any")
    settings.fallback_list = view.enum("metadata_fallback_policy") == "FALLBACK_LIST"
    for each in view.messages("subset_selectors"):
        selector = SubsetSelector(each.texts("keys"))
        fallback = each.enum("fallback_policy")
        selector.fallback = fallback
        selector.fallback_keys = each.texts("fallback_keys_subset")
        if fallback == "KEYS_SUBSET":
            if not selector.fallback_keys:
                raise each.error("fallback_keys_subset cannot be empty", "fallback_keys_subset")
            if set(selector.fallback_keys) == set(selector.keys):
                raise each.error("fallback_keys_subset cannot be equal to keys", "fallback_keys_subset")
            if not set(selector.fallback_keys) < set(selector.keys):
                raise each.error(
                    "fallback_keys_subset must be a subset of selector keys", "fallback_keys_subset"
                )
        elif selector.fallback_keys:
            raise each.error(
                "fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy", "fallback_keys_subset"
            )
        settings.selectors.append(selector)
    return settings


def _first_known(view: View, context: PolicyContext, cluster: str) -> LbPolicy:
    names: list[str] = []
    chosen: LbPolicy | None = None
    for entry in view.messages("policies"):
        extension = entry.message("typed_extension_config")
        if extension is None:
            continue
        names.append(extension.text("name"))
        type_name = extension.any_type("typed_config")
        if chosen is None and type_name and LB_POLICIES.find(type_name) is not None:
            chosen = LB_POLICIES.create(extension, context)
        else:
            # Behind the first known policy nothing counts; before it stand those for other proxies.
            extension.accept("typed_config")
    if chosen is None:
        raise view.error(
            "cluster: didn't find a registered load balancer factory implementation for cluster: "
            f"'{cluster}' with names from [{', '.join(names)}]"
        )
    return chosen


@LB_POLICIES.register("envoy.load_balancing_policies.cluster_provided", _PREFIX + "cluster_provided.v3.ClusterProvided")
def _cluster_provided(view: View, context: PolicyContext) -> LbPolicy:
    return LbPolicy(CLUSTER_PROVIDED, context.common)


def read_lb_policy(view: View, cluster: str, custom: ClusterType | None = None) -> LbPolicy:
    """The policy of a Cluster; `custom` when it is one of the kinds of its own. Raises ConfigError."""
    policy = _read_policy(view, cluster)
    provides = custom is not None and custom.provides_balancer
    if policy.kind == CLUSTER_PROVIDED and custom is None:
        raise view.error(
            f"cluster manager: cluster provided LB specified but cluster '{cluster}' did not provide one. Check "
            "cluster documentation.",
            "lb_policy",
        )
    if provides and policy.kind != CLUSTER_PROVIDED:
        assert custom is not None
        if custom.name == "ORIGINAL_DST":
            raise view.error(
                f"cluster: LB policy {policy.kind} is not valid for Cluster type {custom.name}. Only "
                f"'CLUSTER_PROVIDED' is allowed with cluster type '{custom.name}'",
                "lb_policy",
            )
        raise view.error(
            f"cluster manager: cluster provided LB not specified but cluster '{cluster}' provided one. Check cluster"
            " documentation.",
            "lb_policy",
        )
    return policy


def _read_policy(view: View, cluster: str) -> LbPolicy:
    common_view = view.message("common_lb_config")
    common = read_common(common_view)
    kind = view.enum("lb_policy")
    policies = view.message("load_balancing_policy")
    if policies is not None:
        if view.has("lb_subset_config"):
            raise view.error("cluster: load_balancing_policy cannot be combined with lb_subset_config")
        # The older settings are ignored then.
        view.accept("ring_hash_lb_config", "maglev_lb_config", "least_request_lb_config", "round_robin_lb_config")
        return _first_known(policies, PolicyContext(common), cluster)
    if kind == "LOAD_BALANCING_POLICY_CONFIG":
        raise view.error("cluster: field load_balancing_policy need to be set", "load_balancing_policy")
    policy = LbPolicy(kind, common)
    own = {
        "ROUND_ROBIN": "round_robin_lb_config", "LEAST_REQUEST": "least_request_lb_config",
        "RING_HASH": "ring_hash_lb_config", "MAGLEV": "maglev_lb_config",
    }.get(kind)
    settings_field = view.which("lb_config")
    if settings_field is not None and settings_field != own:
        # Settings of another policy: Envoy ignores them.
        view.accept(settings_field)
    _read_own_settings(view, own, policy)
    subset = view.message("lb_subset_config")
    if subset is not None:
        read = _read_subset(subset)
        # Without selectors there is nothing to choose by.
        if read.selectors:
            policy.subset = read
            if not read.locality_weight_aware:
                policy.common.locality_weighted = False
    if common_view is not None:
        consistent = common_view.message("consistent_hashing_lb_config")
        if consistent is not None:
            policy.hash_hostname = consistent.flag("use_hostname_for_hashing")
            policy.balance_factor = consistent.integer("hash_balance_factor")
    return policy


def _read_own_settings(view: View, field: str | None, policy: LbPolicy) -> None:
    settings = None if field is None else view.message(field)
    if settings is None:
        return
    if field == "ring_hash_lb_config":
        _ring_sizes(settings, policy)
    elif field == "maglev_lb_config":
        _table_size(settings, policy)
    else:
        policy.slow_start = _slow_start(settings.message("slow_start_config"))
        if field == "least_request_lb_config":
            policy.choices = settings.integer("choice_count", 2)
            _bias(settings.message("active_request_bias"), policy)
