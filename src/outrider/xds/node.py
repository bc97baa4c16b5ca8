"""The `node` that requests carry: who we are, and which extensions we have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from outrider.config.struct import struct_to_dict
from outrider.registry import CATEGORIES

_PREFIX: Final = "xds.node."


def extension_trees() -> list[dict[str, Any]]:
    """`node.extensions`: everything that is registered, by category."""
    trees = []
    for category in sorted(CATEGORIES):
        seen: dict[str, dict[str, Any]] = {}
        for extension in CATEGORIES[category].all():
            if extension.name.startswith("outrider."):
                # The admin interface's own filter: nothing that a configuration could name.
                continue
            tree = seen.setdefault(extension.name, {"name": extension.name, "category": category})
            if extension.type_name is not None:
                tree.setdefault("type_urls", []).append(extension.type_name)
        trees += [seen[name] for name in sorted(seen)]
    return trees


def full_node(node: Any) -> Any:
    """A copy of a node with the extensions."""
    full = type(node)()
    full.CopyFrom(node)
    del full.extensions[:]
    for tree in extension_trees():
        full.extensions.add(name=tree["name"], category=tree["category"], type_urls=tree.get("type_urls", []))
    return full


def node_context(node: Any, names: Sequence[str]) -> dict[str, str]:
    """`node_context_params`: what of the node goes into the names of `xdstp://` collections. Unknown names are passed
    over, as in Envoy."""
    version = node.user_agent_build_version.version
    plain = {
        "id": node.id,
        "cluster": node.cluster,
        "user_agent_name": node.user_agent_name,
        "user_agent_version": node.user_agent_version,
        "locality.region": node.locality.region,
        "locality.zone": node.locality.zone,
        "locality.sub_zone": node.locality.sub_zone,
        "user_agent_build_version.version": f"{version.major_number}.{version.minor_number}.{version.patch}",
    }
    structs = {
        "metadata": node.metadata,
        "user_agent_build_version.metadata": node.user_agent_build_version.metadata,
    }
    context: dict[str, str] = {}
    for name in names:
        if name in plain:
            context[_PREFIX + name] = plain[name]
        elif name in structs:
            for key, value in struct_to_dict(structs[name]).items():
                context[f"{_PREFIX}{name}.{key}"] = json.dumps(_whole(value), separators=(",", ":"), ensure_ascii=False)
    return context


def _whole(value: object) -> object:
    """Numbers of JSON without a fraction as integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return value
