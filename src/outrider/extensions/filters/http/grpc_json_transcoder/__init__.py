"""envoy.filters.http.grpc_json_transcoder: HTTP and JSON for clients, gRPC towards the upstream.

- `filter.py`: the filter; `settings.py`: its configuration
- `methods.py`, `http_rule.py`, `path_matcher.py`: which request is which method
- `request.py`, `json_array.py`: JSON, path and query into messages
- `response.py`, `json_writer.py`: messages into JSON; `rpc_status.py`: failures
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.extensions.filters.http.grpc_json_transcoder.filter import TranscoderFilter
from outrider.extensions.filters.http.grpc_json_transcoder.settings import TranscoderSettings, TranscoderStats
from outrider.http.filter import HttpFilter, HttpFilterFactory
from outrider.http.filter_registry import HTTP_FILTERS, route_config

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

_TYPE: Final = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"


class TranscoderFactory(HttpFilterFactory):
    def __init__(self, settings: TranscoderSettings, stats: TranscoderStats) -> None:
        self.settings = settings
        self.stats = stats

    def create(self) -> HttpFilter:
        return TranscoderFilter(self.settings, self.stats)


@HTTP_FILTERS.register("envoy.filters.http.grpc_json_transcoder", _TYPE, "envoy.grpc_json_transcoder")
def create(config: View, context: FactoryContext) -> HttpFilterFactory:
    return TranscoderFactory(TranscoderSettings(config), TranscoderStats(context.scope))


@route_config(_TYPE)
def create_for_route(config: View, context: FactoryContext) -> object:
    return TranscoderSettings(config)
