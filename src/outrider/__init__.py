"""Outrider: an Envoy-compatible L4/L7 service proxy in Python. `docs/architecture.md` maps the folders."""

__version__ = "0.1.0"
