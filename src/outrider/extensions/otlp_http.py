"""OTLP over HTTP: a POST with a protobuf body for each batch. Source: OTLP specification, "OTLP/HTTP"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import outrider
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import CONTENT_TYPE
from outrider.extensions.access_loggers.batch import Envelope, Transport
from outrider.http.header_mutation import HeaderParser
from outrider.router.async_client import AsyncCall, AsyncCallbacks, AsyncClient

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext

# OTLP specification, "OTLP Exporter User Agent".
_USER_AGENT: Final = b"OTel-OTLP-Exporter-Outrider/" + outrider.__version__.encode()
_PROTOBUF: Final = b"application/x-protobuf"
_MAX_CALLS: Final = 64


class OtlpHttpTransport(Transport):
    """`core.v3.HttpService`."""

    def __init__(self, view: View, context: FactoryContext, envelope: Envelope) -> None:
        """Raises ConfigError."""
        uri = view.message("http_uri")
        if uri is None:
            raise view.error("value is required", "http_uri")
        parts = urlsplit(uri.text("uri"))
        self.authority: bytes = parts.netloc.encode()
        self.path: bytes = ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode()
        self.scheme: bytes = (parts.scheme or "http").encode()
        self.cluster = uri.text("cluster")
        self.timeout_ms = uri.millis("timeout") or 0
        self.headers = HeaderParser.from_views(view.messages("request_headers_to_add"))
        if any(addition.constant is None for addition in self.headers.additions):
            raise view.error("values with commands are not supported here", "request_headers_to_add")
        self.client = AsyncClient(context)
        self.envelope = envelope
        self.calls: set[_End] = set()

    def send(self, entries: list[bytes]) -> bool:
        if len(self.calls) >= _MAX_CALLS:
            return False
        body = self.envelope.wrap(entries, True)
        headers = RequestHeaderMap(
            {CONTENT_TYPE: _PROTOBUF, b"user-agent": _USER_AGENT},
            method=b"POST", path=self.path, authority=self.authority, scheme=self.scheme,
        )  # fmt: skip
        for addition in self.headers.additions:
            headers.set(addition.name, addition.constant or b"")
        end = _End(self)
        self.calls.add(end)
        end.call = AsyncCall(self.client, self.cluster, headers, body, self.timeout_ms, end)
        end.call.start()
        return True


class _End(AsyncCallbacks):
    def __init__(self, owner: OtlpHttpTransport) -> None:
        self.owner = owner
        self.call: AsyncCall | None = None

    def on_response(self, headers: ResponseHeaderMap, body: bytes) -> None:
        self.owner.calls.discard(self)

    def on_failure(self, reason: str) -> None:
        self.owner.calls.discard(self)
