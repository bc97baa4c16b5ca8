"""Kinds of clusters beyond lists of hosts and names: what configuration asked for, and how both halves make it.

Source: Envoy documentation, "Service discovery", "Custom cluster"; `Cluster.cluster_type`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.upstream.cluster import Cluster
    from outrider.upstream.cluster_info import ClusterInfo
    from outrider.upstream.control.cluster_control import ClusterControl
    from outrider.upstream.control.discovery import Discovery
    from outrider.upstream.control_link import ControlLink


class ClusterTypeContext:
    """What the factory of a cluster type may look at."""

    __slots__ = ("view", "name", "default_resolver")

    def __init__(self, view: View, name: str, default_resolver: View | None) -> None:
        # The Cluster message.
        self.view = view
        self.name = name
        # The bootstrap's `typed_dns_resolver_config`.
        self.default_resolver = default_resolver


@mypyc_attr(allow_interpreted_subclasses=True)
class ClusterType:
    """Made from the configuration by a factory of CLUSTER_TYPES, once in each half."""

    # The name that error messages give.
    name: str = ""
    # It chooses hosts itself: `lb_policy` must be CLUSTER_PROVIDED.
    provides_balancer: bool = True
    # `load_assignment` means something to it.
    takes_assignment: bool = False

    def check(self, context: FactoryContext, view: View, info: ClusterInfo) -> None:
        """Look at the finished settings of the cluster. Raises ConfigError."""

    def make_discovery(self, control: ClusterControl) -> Discovery:
        """The control half's source of hosts."""
        raise NotImplementedError

    def make_cluster(
        self, info: ClusterInfo, context: FactoryContext, link: ControlLink, local: Cluster | None
    ) -> Cluster:
        """The worker's half."""
        raise NotImplementedError


# Factories take `(config, context)`: `(View, ClusterTypeContext)`.
CLUSTER_TYPES: ExtensionRegistry[ClusterType] = ExtensionRegistry("envoy.clusters")
