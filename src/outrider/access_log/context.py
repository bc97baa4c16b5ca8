"""What a format string is evaluated against."""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.stream_info import StreamInfo

# Values of %ACCESS_LOG_TYPE% (envoy.data.accesslog.v3.AccessLogType).
NOT_SET: Final = "NotSet"
TCP_CONNECTION_START: Final = "TcpConnectionStart"
TCP_UPSTREAM_CONNECTED: Final = "TcpUpstreamConnected"
TCP_PERIODIC: Final = "TcpPeriodic"
TCP_CONNECTION_END: Final = "TcpConnectionEnd"
DOWNSTREAM_START: Final = "DownstreamStart"
DOWNSTREAM_PERIODIC: Final = "DownstreamPeriodic"
DOWNSTREAM_END: Final = "DownstreamEnd"
UPSTREAM_POOL_READY: Final = "UpstreamPoolReady"
UPSTREAM_PERIODIC: Final = "UpstreamPeriodic"
UPSTREAM_END: Final = "UpstreamEnd"
DOWNSTREAM_TUNNEL_SUCCESSFULLY_ESTABLISHED: Final = "DownstreamTunnelSuccessfullyEstablished"
UDP_TUNNEL_UPSTREAM_CONNECTED: Final = "UdpTunnelUpstreamConnected"
UDP_PERIODIC: Final = "UdpPeriodic"
UDP_SESSION_END: Final = "UdpSessionEnd"


class FormatContext:
    """One request or session as formatters, log filters and header mutations see it. Absent maps are None."""

    __slots__ = (
        "stream_info",
        "request_headers",
        "response_headers",
        "response_trailers",
        "local_reply_body",
        "log_type",
    )

    def __init__(
        self,
        stream_info: StreamInfo,
        request_headers: RequestHeaderMap | None = None,
        response_headers: ResponseHeaderMap | None = None,
        response_trailers: HeaderMap | None = None,
        local_reply_body: bytes = b"",
        log_type: str = NOT_SET,
    ) -> None:
        self.stream_info = stream_info
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.response_trailers = response_trailers
        self.local_reply_body = local_reply_body
        self.log_type = log_type
