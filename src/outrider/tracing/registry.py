"""Tracers by configuration."""

from __future__ import annotations

from typing import Final

from outrider.registry import ExtensionRegistry
from outrider.tracing.span import Tracer

# Factories take `(config, context)`: `(View, FactoryContext)`.
TRACERS: Final[ExtensionRegistry[Tracer]] = ExtensionRegistry("envoy.tracers")
