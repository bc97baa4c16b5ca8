"""Route configurations from plain data, and requests to try on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from outrider.config import api
from outrider.config.parse import Reader
from outrider.config.runtime import Runtime, make_entry
from outrider.config.view import View
from outrider.data.address import ip_address
from outrider.data.header_map import RequestHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.router.config.route import Route
from outrider.router.config.route_config import RouteConfig
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager

ROUTE_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"


def known_clusters(names: Sequence[str]) -> ClusterManager:
    """A cluster manager that knows these names; nothing can be asked of the clusters."""
    manager = ClusterManager()
    for name in names:
        manager._clusters[name] = cast(Any, None)
    return manager


def view_of(type_name: str, tree: Mapping[str, object], path: str = "") -> View:
    """A view of a message given as JSON-like data."""
    message = api.new(type_name)
    reader = Reader()
    reader.read(dict(tree), message)
    assert not reader.faults, [fault.text for fault in reader.faults]
    return View(message, path)


def make_context(
    clusters: Sequence[str] = ("c1", "c2", "c3"), runtime: Mapping[str, object] | None = None
) -> FactoryContext:
    entries = {key: make_entry(value) for key, value in (runtime or {}).items()}
    return FactoryContext(
        scope=Store(),
        dispatcher=cast(Any, None),
        cluster_manager=known_clusters(clusters),
        runtime=Runtime(entries),
        access_log_manager=cast(Any, None),
        arena=None,
        server=ServerInfo(),
    )


def load(tree: Mapping[str, object], context: FactoryContext | None = None) -> RouteConfig:
    """A RouteConfig of which every field has been read."""
    view = view_of(ROUTE_CONFIGURATION, tree)
    config = RouteConfig.from_view(view, make_context() if context is None else context)
    assert view.unread() == []
    return config


def one_host(*routes: Mapping[str, object], **host: object) -> dict[str, object]:
    """A RouteConfiguration with one virtual host for all domains."""
    return {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": list(routes), **host}]}


def to(name: str, match: Mapping[str, object]) -> dict[str, object]:
    """A route that answers 200; `name` tells it apart."""
    return {"name": name, "match": dict(match), "direct_response": {"status": 200}}


def request(
    path: str = "/",
    host: str = "example.com",
    method: str = "GET",
    headers: Sequence[tuple[str, str]] = (),
    scheme: str = "http",
) -> RequestHeaderMap:
    made = RequestHeaderMap(
        method=method.encode(),
        path=path.encode("latin-1"),
        authority=host.encode("latin-1"),
        scheme=scheme.encode(),
    )
    made.add(b"x-forwarded-proto", scheme.encode())
    for name, value in headers:
        made.add(name.lower().encode(), value.encode("latin-1"))
    return made


def stream_info() -> StreamInfo:
    connection = ConnectionInfo(1, ip_address("127.0.0.1", 10000), ip_address("127.0.0.2", 40000))
    return StreamInfo(connection, 0, 0, HTTP11)


def find(config: RouteConfig, headers: RequestHeaderMap, random_value: int = 0) -> Route | None:
    return config.route(headers, stream_info(), random_value)


def name_of(config: RouteConfig, headers: RequestHeaderMap, random_value: int = 0) -> str | None:
    """The name of the route that takes a request."""
    found = find(config, headers, random_value)
    return None if found is None else found.name
