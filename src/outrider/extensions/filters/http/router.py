"""envoy.filters.http.router: registered by `outrider.router.router_config`, where its factory stands."""

from outrider.router.router_config import create

__all__ = ["create"]
