"""The registry of stats sinks."""

from outrider.registry import ExtensionRegistry
from outrider.stats.flush import StatsSink

# Factories take `(config, context)`: `(View, FactoryContext)`.
STATS_SINKS: ExtensionRegistry[StatsSink] = ExtensionRegistry("envoy.stats_sinks")
