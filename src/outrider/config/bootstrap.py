"""The bootstrap: the file that `-c` names, with `--config-yaml` merged over it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy, checked_view, merge_sources, paused_collector
from outrider.config.source import Source, read_file
from outrider.config.struct import struct_to_dict
from outrider.config.view import View

BOOTSTRAP: Final = "envoy.config.bootstrap.v3.Bootstrap"

_FEATURE: Final = "envoy.deprecated_features:"
_ALL_FEATURES: Final = "envoy.features.enable_all_deprecated_features"


def load_bootstrap(path: str | None, yaml_text: str | None = None, policy: LoadPolicy | None = None) -> View:
    """Read, merge, parse and check a bootstrap.

    The file's extension decides its kind, as in Envoy (`.yaml`, `.yml`, `.json`,
    `.pb`, `.pb_text`). What `yaml_text` sets wins over the file, its lists are
    appended. Raises ConfigError or ConfigErrors, nothing else.
    """
    policy = policy or LoadPolicy()
    sources: list[Source] = []
    if path:
        sources.append(read_file(path))
    if yaml_text:
        sources.append(Source("--config-yaml", "yaml", yaml_text.encode()))
    if not sources:
        raise ConfigError("At least one of --config-path or --config-yaml should be non-empty")
    with paused_collector():
        message = merge_sources(sources, BOOTSTRAP, policy)
        policy.allowed_features |= deprecated_features(message)
        return checked_view(message, sources, policy)


def deprecated_features(bootstrap: Any) -> frozenset[str]:
    """The deprecated fields and enum values that static runtime layers allow; `*` stands for all."""
    found: set[str] = set()
    for layer in bootstrap.layered_runtime.layers:
        if layer.WhichOneof("layer_specifier") != "static_layer":
            continue
        for key, value in _flat("", struct_to_dict(layer.static_layer)):
            on = value is True or str(value).lower() == "true"
            feature = "*" if key == _ALL_FEATURES else key.removeprefix(_FEATURE) if key.startswith(_FEATURE) else ""
            if feature:
                found.add(feature) if on else found.discard(feature)
    return frozenset(found)


def _flat(prefix: str, values: dict[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            yield from _flat(key, value)
        else:
            yield key, value
