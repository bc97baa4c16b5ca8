"""What a `core.v3.ConfigSource` and an `ApiConfigSource` say, checked.

The texts of errors are Envoy's (`Config::Utility`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from outrider.xds.transport.grpc_stream import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from outrider.config.view import View

DEFAULT_INITIAL_FETCH_MS: Final = 15_000
DEFAULT_REQUEST_TIMEOUT_MS: Final = 1000
_API_TYPE: Final = "envoy.config.core.v3.ApiConfigSource"
_DELTA: Final = ("DELTA_GRPC", "AGGREGATED_DELTA_GRPC")
_GRPC: Final = ("GRPC", "AGGREGATED_GRPC", *_DELTA)


class ApiSource:
    """An ApiConfigSource: the settings that all its forms share."""

    __slots__ = (
        "api_type", "clusters", "limit", "max_services", "node_once", "refresh_ms", "services", "timeout_ms",
        "validators", "view",
    )  # fmt: skip

    def __init__(self, view: View, max_services: int = 1) -> None:
        """`max_services`: 2 where fail-over is enabled. Raises ConfigError."""
        self.view = view
        self.max_services = max_services
        self.api_type: str = view.enum("api_type")
        # Only version 3 is spoken, whatever an older file asks for; Envoy reads it no more either.
        view.accept("transport_api_version")
        self.clusters: list[str] = view.texts("cluster_names")
        self.services: list[View] = view.messages("grpc_services")
        self.node_once: bool = view.flag("set_node_on_first_message_only")
        self.refresh_ms: int = view.millis("refresh_delay") or 0
        timeout = view.millis("request_timeout")
        self.timeout_ms: int = DEFAULT_REQUEST_TIMEOUT_MS if timeout is None else timeout
        # Extensions that look at updates; of gRPC sources only, as in Envoy.
        self.validators: list[View] = view.messages("config_validators") if self.is_grpc else []
        self.limit: RateLimit | None = None
        settings = view.message("rate_limit_settings")
        if settings is not None:
            fill_rate = settings.number("fill_rate", 10.0)
            self.limit = RateLimit(settings.integer("max_tokens", 100), fill_rate)
        self._check()

    @property
    def is_grpc(self) -> bool:
        return self.api_type in _GRPC

    @property
    def is_delta(self) -> bool:
        return self.api_type in _DELTA

    def _check(self) -> None:
        view = self.view
        text = str(view.proto)
        if not self.clusters and not self.services:
            raise view.error(f"API configs must have either a gRPC service or a cluster name defined: {text}")
        if self.is_grpc:
            if self.clusters:
                raise view.error(
                    f"{_API_TYPE}::(AGGREGATED_)(DELTA_)GRPC must not have a cluster name specified: {text}",
                    "cluster_names",
                )
            if len(self.services) > self.max_services:
                raise view.error(
                    f"{_API_TYPE}::(AGGREGATED_)(DELTA_)GRPC must have no more than {self.max_services} gRPC services "
                    f"specified: {text}",
                    "grpc_services",
                )
            return
        if self.services:
            raise view.error(
                f"{_API_TYPE}, if not a gRPC type, must not have a gRPC service specified: {text}", "grpc_services"
            )
        if len(self.clusters) != 1:
            raise view.error(f"{_API_TYPE} must have a singleton cluster name specified: {text}", "cluster_names")

    def check_is_stream(self) -> None:
        """For ADS: only these forms carry several types. Raises ConfigError."""
        if self.api_type not in ("GRPC", "DELTA_GRPC"):
            raise self.view.error(f"{_API_TYPE} type must be of non-aggregated gRPC: {self.view.proto}", "api_type")

    def check_clusters(self, is_primary: Callable[[str], bool]) -> None:
        """The cluster behind it must be there before any is discovered. Raises ConfigError."""
        for name in self.clusters:
            self._check_cluster(self.view, "cluster_names", name, is_primary)
        for service in self.services:
            envoy = service.message("envoy_grpc") if service.has("envoy_grpc") else None
            if envoy is not None:
                self._check_cluster(envoy, "cluster_name", envoy.text("cluster_name"), is_primary)

    @staticmethod
    def _check_cluster(view: View, field: str, name: str, is_primary: Callable[[str], bool]) -> None:
        if not is_primary(name):
            raise view.error(
                f"{_API_TYPE} must have a statically defined non-EDS cluster: '{name}' does not exist, was added via "
                "api, or is an EDS cluster",
                field,
            )

    @staticmethod
    def destination(service: View) -> str:
        """For the log: the cluster or target of a gRPC service."""
        envoy = service.message("envoy_grpc") if service.has("envoy_grpc") else None
        if envoy is not None:
            return envoy.text("cluster_name")
        google = service.message("google_grpc") if service.has("google_grpc") else None
        return google.text("target_uri") if google is not None else ""


def initial_fetch_s(source: View | None) -> float:
    """`initial_fetch_timeout` in seconds, 0 = none."""
    timeout = source.seconds("initial_fetch_timeout") if source is not None else None
    return DEFAULT_INITIAL_FETCH_MS / 1000 if timeout is None else timeout


class FileSource:
    """A PathConfigSource, or the older `path`."""

    __slots__ = ("folder", "path", "poll_s")

    def __init__(self, source: View) -> None:
        """Raises ConfigError."""
        self.folder = ""
        self.poll_s = 0.0
        if source.which("config_source_specifier") == "path":
            self.path = source.text("path")
            view, field = source, "path"
        else:
            inner = source.message("path_config_source")
            assert inner is not None
            view, field = inner, "path"
            self.path = inner.text("path")
            watched = inner.message("watched_directory")
            if watched is not None:
                self.folder = watched.text("path")
            self.poll_s = inner.seconds("poll_interval") or 0.0
        if not os.path.exists(self.path):
            raise view.error(f"paths must refer to an existing path in the system: '{self.path}' does not exist", field)
