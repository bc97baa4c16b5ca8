"""One filter on a stream whose far ends are lists: no codec, no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from outrider.config.runtime import Runtime
from outrider.config.view import View
from outrider.data.address import ip_address
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import HTTP11, ConnectionInfo, StreamInfo
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.http.filter import HttpFilterFactory, LocalReplyModifier
from outrider.http.filter_chain import FilterChainEntry
from outrider.http.filter_manager import FilterManager
from outrider.http.filter_registry import HTTP_FILTERS, create_route_config
from outrider.http.route import HttpRoute
from outrider.network.connection import Connection
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager
from tests.matching.support import view_of
from tests.support.dispatcher import idle_dispatcher

__all__ = ["Scene", "Stream", "request_headers"]


def request_headers(
    *fields: tuple[str, str], method: str = "GET", path: str = "/", host: str = "test"
) -> RequestHeaderMap:
    made = RequestHeaderMap(method=method.encode(), path=path.encode(), authority=host.encode(), scheme=b"http")
    for name, value in fields:
        made.add(name.encode(), value.encode("latin-1"))
    return made


class SceneRoute(HttpRoute):
    """A route with the given per-filter configurations, least specific first."""

    def __init__(self, configs: list[object]) -> None:
        super().__init__()
        self.configs = configs

    def per_filter_config(self, filter_name: str) -> object | None:
        return self.configs[-1] if self.configs else None

    def per_filter_configs(self, filter_name: str) -> list[object]:
        return self.configs


class Stream(FilterManager):
    """`out` lists what leaves the stream; `details` is the last local reply's."""

    def __init__(self, scene: Scene, route: HttpRoute | None) -> None:
        info = ConnectionInfo(1, ip_address("127.0.0.1", 80), ip_address("10.1.2.3", 4000))
        super().__init__(
            Connection(idle_dispatcher(), info), cast(Any, scene.dispatcher), StreamInfo(info, 0, 0, HTTP11), 1000
        )
        self.out: list[str] = []
        self.details = ""
        self.reply: ResponseHeaderMap | None = None
        self._route = route
        self.route_cleared = False

    def send_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        self.out.append(f"headers {headers.status}{'!' if end_stream else ''}")

    def send_data(self, data: bytes, end_stream: bool) -> None:
        self.out.append(f"data {data.decode()}{'!' if end_stream else ''}")

    def send_trailers(self, trailers: HeaderMap) -> None:
        self.out.append("trailers")

    def on_response_sent(self) -> None:
        self.out.append("sent")

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        self.out.append("pause")

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        self.out.append("resume")

    def on_request_too_large(self) -> None:
        self.out.append("413")

    def route(self) -> HttpRoute | None:
        return self._route

    def clear_route_cache(self) -> None:
        self.route_cleared = True

    def send_local_reply_full(
        self, code: int, body: str, modifier: LocalReplyModifier | None, grpc_status: int, details: str
    ) -> None:
        self.details = details
        self.reply = ResponseHeaderMap(status=code)
        if modifier is not None:
            modifier.modify(self.reply)
        self.out.append(f"reply {code} {body}")

    @property
    def passed(self) -> bool:
        """Whether the request went on behind the filter under test."""
        return self._filters[0].decode_headers_passed


class Scene:
    """A factory built from plain data, and streams that run through it."""

    def __init__(self, name: str, type_name: str, config: Mapping[str, object], dispatcher: object = None) -> None:
        self.name = name
        self.dispatcher = dispatcher
        self.store = Store()
        self.clusters = ClusterManager()
        self.context = FactoryContext(
            self.store, cast(Any, dispatcher), self.clusters, Runtime(), cast(Any, None), None, ServerInfo()
        )
        self.context.stat_prefix = ""
        self.view: View = view_of(type_name, config)
        found = HTTP_FILTERS.find(type_name)
        assert found is not None
        self.factory: HttpFilterFactory = found(self.view, self.context)

    def route_config(self, type_name: str, config: Mapping[str, object]) -> object:
        made = create_route_config(self.name, view_of(type_name, config), self.context)
        assert made is not None
        return made

    def stream(self, headers: RequestHeaderMap, *route_configs: object, end: bool = True) -> Stream:
        """Run the headers of a request; `end`: there is no body."""
        made = Stream(self, SceneRoute(list(route_configs)))
        made.create_filter(FilterChainEntry(self.factory, self.name))
        made.finish_chain()
        made.request_headers = headers
        made.remote_complete = end
        made.run_decode_headers(0, headers, end)
        return made

    def counter(self, name: str) -> int:
        return self.store.counter(name).value
