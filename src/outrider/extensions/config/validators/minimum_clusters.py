"""envoy.config.validators.minimum_clusters: refuses CDS updates that would leave too few clusters.

Static clusters do not count, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from outrider.config.errors import ConfigError
from outrider.config.subscription import Resource
from outrider.xds.api_types import CLUSTER
from outrider.xds.validators import CONFIG_VALIDATORS, ConfigValidator

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class MinimumClusters(ConfigValidator):
    """At least so many."""

    type_name = CLUSTER

    def __init__(self, minimum: int) -> None:
        self.minimum = minimum

    def check(self, resources: Sequence[Resource], names: set[str]) -> None:
        if len(names) < self.minimum:
            raise ConfigError("CDS update attempts to reduce clusters below configured minimum.")


@CONFIG_VALIDATORS.register(
    "envoy.config.validators.minimum_clusters_validator",
    "envoy.extensions.config.validators.minimum_clusters.v3.MinimumClustersValidator",
    "envoy.config.validators.minimum_clusters",
)
def create(config: View, context: FactoryContext) -> ConfigValidator:
    return MinimumClusters(config.integer("min_clusters_num"))
