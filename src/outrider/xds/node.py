"""The `node` that requests carry: who we are, and which extensions we have."""

from __future__ import annotations

from typing import Any

from outrider.registry import CATEGORIES


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
