"""A probe that calls `grpc.health.v1.Health/Check`, the gRPC health checking protocol.

Source: gRPC documentation, "GRPC Health Checking Protocol"; Envoy's `GrpcHealthCheckerImpl`.
"""

from __future__ import annotations

from typing import Final

from outrider.data import grpc_status
from outrider.data.header_map import HeaderMap, RequestHeaderMap
from outrider.data.header_names import CONTENT_TYPE, GRPC_STATUS, TE
from outrider.http.codec import CodecProtocolError
from outrider.upstream.control.health.probe import HttpProbe, ProbeResponse
from outrider.upstream.control.health.session import ACTIVE, NETWORK

_PATH: Final = b"/grpc.health.v1.Health/Check"
_PREFIX: Final = 5
# A HealthCheckResponse is a few bytes.
_MAX_BODY: Final = 4096
_SERVING: Final = 1


class GrpcProbe(HttpProbe):
    """Healthy is who answers SERVING with status OK."""

    def ask(self) -> None:
        codec = self.codec
        assert codec is not None
        self.headers = None
        self.body = b""
        response = ProbeResponse(self)
        self.response = response
        config = self.checker.config
        request = RequestHeaderMap(
            {TE: b"trailers", CONTENT_TYPE: b"application/grpc", b"user-agent": b"Envoy/HC"},
            method=b"POST",
            path=_PATH,
            authority=self.checker.authority(self.session.host),
            scheme=b"https" if self.checker.secure else b"http",
        )
        if config.headers is not None:
            config.headers.evaluate_headers(request, self._format_context(request))
        message = encode_request(config.grpc_service)
        try:
            encoder = codec.new_stream(response)
            encoder.encode_headers(request, False)
            encoder.encode_data(b"\0" + len(message).to_bytes(4, "big") + message, True)
        except CodecProtocolError:
            self.fail(NETWORK, False)

    def on_body(self, data: bytes, end_stream: bool) -> None:
        if len(self.body) < _MAX_BODY:
            self.body += data[: _MAX_BODY - len(self.body)]
        if end_stream:
            # Without trailers there is no status.
            self._judge(grpc_status.INTERNAL)

    def on_complete(self) -> None:
        """The response has headers only: they hold the status."""
        if self.headers is not None:
            self.on_trailers(self.headers)

    def on_trailers(self, trailers: HeaderMap) -> None:
        headers = self.headers
        value = trailers.get(GRPC_STATUS)
        status = grpc_status.INTERNAL
        if value is not None:
            status = grpc_status.parse_status(value)
        elif headers is not None and headers.status != 200:
            status = grpc_status.from_http_status(headers.status)
        if headers is None or (headers.status != 200 and headers is not trailers):
            status = grpc_status.INTERNAL
        self._judge(status)

    def _judge(self, status: int) -> None:
        headers = self.headers
        self.response = None
        if headers is None or not self.waiting:
            return
        keep = not self.leaving
        if status != grpc_status.OK or decode_status(self.body) != _SERVING:
            self.fail(ACTIVE, False, keep)
            return
        self.succeed(headers.contains(b"x-envoy-degraded"), keep)


def encode_request(service: str) -> bytes:
    """A HealthCheckRequest: one field, `service`."""
    if not service:
        return b""
    name = service.encode()
    length = bytearray()
    rest = len(name)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return b"\x0a" + bytes(length) + name


def decode_status(body: bytes) -> int:
    """`status` of the one HealthCheckResponse in a body of gRPC messages; -1 for anything else."""
    if len(body) < _PREFIX or body[0] != 0 or len(body) != _PREFIX + int.from_bytes(body[1:_PREFIX], "big"):
        return -1
    message = body[_PREFIX:]
    if not message:
        # UNKNOWN is the default.
        return 0
    if len(message) != 2 or message[0] != 0x08:
        return -1
    return message[1]
