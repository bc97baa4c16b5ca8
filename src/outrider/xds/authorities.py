"""The config sources of `xdstp://` authorities: the bootstrap's `config_sources` and `default_config_source`.

Source: Envoy's `XdsManagerImpl`, whose texts the errors have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from outrider.config.errors import ConfigError
from outrider.config.subscription import Subscription
from outrider.xds.mux import Mux
from outrider.xds.xdstp import is_xdstp, parse_xdstp

if TYPE_CHECKING:
    from outrider.config.view import View


class Authorities:
    """Which stream serves which authority."""

    def __init__(self, sources: Sequence[View], default: View | None, make: Callable[[View], Mux]) -> None:
        """`make` opens nothing; it turns an ApiConfigSource into a mux. Raises ConfigError."""
        self._by_name: dict[str, Mux] = {}
        self.muxes: list[Mux] = []
        for source in sources:
            names = [each.text("name") for each in source.messages("authorities")]
            if not names:
                raise source.error("xdstp-based non-default config source must have at least one authority.")
            mux = self._mux(source, make)
            for name in names:
                if name in self._by_name:
                    raise source.error(
                        f"xdstp-based config source authority {name} is configured more than once in an xdstp-based "
                        "config source."
                    )
                self._by_name[name] = mux
        self.default: Mux | None = None
        if default is not None:
            names = [each.text("name") for each in default.messages("authorities")]
            self.default = self._mux(default, make)
            for name in names:
                self._by_name.setdefault(name, self.default)

    def _mux(self, source: View, make: Callable[[View], Mux]) -> Mux:
        source.accept("resource_api_version")
        if source.which("config_source_specifier") != "api_config_source":
            raise source.error("Only api_config_source type is currently supported for xdstp-based config sources.")
        inner = source.message("api_config_source")
        assert inner is not None
        if inner.enum("api_type") not in ("AGGREGATED_GRPC", "AGGREGATED_DELTA_GRPC"):
            raise inner.error(
                "xdstp-based config source authority only supports AGGREGATED_GRPC and AGGREGATED_DELTA_GRPC types.",
                "api_type",
            )
        mux = make(inner)
        self.muxes.append(mux)
        return mux

    def find(self, name: str) -> Mux | None:
        """Who serves a name; None: ADS, if there is one. Raises ConfigError: it is malformed."""
        if not is_xdstp(name):
            return None
        return self._by_name.get(parse_xdstp(name).authority, self.default)


class NamedSubscription(Subscription):
    """A subscription whose source is known when its names are."""

    def __init__(self, authorities: Authorities, make: Callable[[Mux | None], Subscription]) -> None:
        """`make` makes the subscription over an authority's mux, or over ADS for None."""
        self._authorities = authorities
        self._make = make
        self._inner: Subscription | None = None

    def start(self, names: Sequence[str] | None) -> None:
        """Raises ConfigError: nobody serves these names."""
        found = {self._authorities.find(name) for name in names or ()} or {None}
        if len(found) > 1:
            raise ConfigError(f"names of several authorities in one subscription: {', '.join(names or ())}")
        self._inner = self._make(found.pop())
        self._inner.start(names)

    def update_interest(self, names: Sequence[str]) -> None:
        if self._inner is not None:
            self._inner.update_interest(names)

    def request_on_demand(self, names: Sequence[str]) -> None:
        if self._inner is not None:
            self._inner.request_on_demand(names)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()
            self._inner = None
