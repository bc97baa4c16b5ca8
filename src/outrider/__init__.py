"""Outrider: an Envoy-compatible L4/L7 service proxy in Python. `docs/architecture.md` maps the folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.server.embedded import Server

__version__ = "0.1.0"
__all__ = ["Server", "__version__"]


def __getattr__(name: str) -> Any:
    """`outrider.Server`, loaded when it is first asked for: the command line never needs it."""
    if name == "Server":
        from outrider.server.embedded import Server

        return Server
    raise AttributeError(f"module 'outrider' has no attribute {name!r}")
