"""A processor behind plain HTTP: each message is a POST of its JSON form, answered by that of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format

from outrider.config import api
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_LENGTH, CONTENT_TYPE
from outrider.extensions.filters.http.ext_proc.messages import RESPONSE
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.extensions.filters.http.ext_proc.filter import ExtProcFilter
    from outrider.factory_context import FactoryContext

_LIMIT: Final = 1 << 20
_OK: Final = 200


class HttpProcessor:
    """`http_service`. Raises ConfigError."""

    def __init__(self, view: View, context: FactoryContext) -> None:
        self.client = AsyncClient(context)
        uri = view.message("http_uri")
        if uri is None:
            raise view.error("value is required", "http_uri")
        rest = uri.text("uri").partition("://")[2] or uri.text("uri")
        host, slash, path = rest.partition("/")
        self.host: bytes = host.encode()
        self.path: bytes = (slash + path).encode() or b"/"
        self.cluster = uri.text("cluster")
        self.timeout_ms = uri.millis("timeout") or 0


class HttpExchange(AsyncCallbacks):
    def __init__(self, owner: ExtProcFilter) -> None:
        self.filter = owner
        self.call: AsyncCall | None = None

    def start(self, body: bytes) -> None:
        service = self.filter.settings.http
        assert service is not None
        headers = RequestHeaderMap(
            {CONTENT_TYPE: b"application/json", CONTENT_LENGTH: b"%d" % len(body)},
            method=b"POST", path=service.path, authority=service.host, scheme=b"http",
        )  # fmt: skip
        call = AsyncCall(service.client, service.cluster, headers, body, service.timeout_ms, self, _LIMIT)
        self.call = call
        call.start()

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.call = None
        if headers.status != _OK:
            self.filter.on_http_error()
            return
        answer: Any = api.new(RESPONSE)
        try:
            json_format.Parse(body, answer, descriptor_pool=api.pool())
        except (json_format.ParseError, UnicodeDecodeError):
            self.filter.on_http_error()
            return
        self.filter.on_answer(answer)

    def on_failure(self, reason: str) -> None:
        self.call = None
        self.filter.on_http_error()
