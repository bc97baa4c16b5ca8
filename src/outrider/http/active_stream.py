"""One request and its response on a downstream connection: between the server codec and the HTTP filters.

Source: Envoy's `ConnectionManagerImpl::ActiveStream`; documentation "HTTP connection management".
"""

from __future__ import annotations

from random import getrandbits
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final

from outrider.access_log import context as log_types
from outrider.access_log.context import FormatContext
from outrider.data import response_flag
from outrider.data.field_values import has_token
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import (
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    LOCATION,
    PROXY_CONNECTION,
    UPGRADE,
)
from outrider.data.stream_info import HTTP2, HTTP10, HTTP11, StreamInfo
from outrider.event.timer import Timer
from outrider.http.codec import (
    RESET_CONNECT_ERROR,
    RESET_LOCAL,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE,
    RESET_REMOTE_REFUSED_STREAM,
    ResponseEncoder,
)
from outrider.http.conn_manager_settings import HcmSettings, Rejection
from outrider.http.connect_udp import CONNECT_UDP, target_authority
from outrider.http.filter import LocalReplyModifier
from outrider.http.filter_chain import HttpFilterChain
from outrider.http.filter_manager import FilterManager
from outrider.http.grpc_status import is_grpc_content_type
from outrider.http.route import HttpRoute
from outrider.http.stream_trace import start_trace
from outrider.overload.settings import DECODE_HEADERS
from outrider.overload.state import STREAM_IDLE, sheds

if TYPE_CHECKING:
    from outrider.http.conn_manager import HttpConnectionManager

# Kinds of timers.
TIMER_IDLE: Final = 0
TIMER_REQUEST: Final = 1
TIMER_HEADERS: Final = 2
TIMER_MAX_DURATION: Final = 3
TIMER_LOG: Final = 4

_NANOS_PER_MS: Final = 1_000_000
_CONTINUE_STATUS: Final = 100
GRPC_DEADLINE_EXCEEDED: Final = 4


class ActiveStream(FilterManager):
    """See the module. Made by HttpConnectionManager when a codec announces a request."""

    def __init__(self, hcm: HttpConnectionManager, encoder: ResponseEncoder | None) -> None:
        settings = hcm.settings
        start = monotonic_ns()
        connection = hcm.connection
        super().__init__(
            connection,
            connection.dispatcher,
            StreamInfo(connection.info, time_ns(), start, hcm.protocol if hcm.protocol >= HTTP2 else HTTP11),
            connection.buffer_limit,
        )
        self.hcm = hcm
        self.settings: HcmSettings = settings
        self.encoder: ResponseEncoder | None = encoder
        self.random_value: int = getrandbits(63)
        # Monotonic: the last byte in either direction.
        self.last_activity_ns: int = start
        self.idle_timeout_ms: int = settings.stream_idle_timeout_ms
        self.saw_connection_close: bool = False
        self.is_head: bool = False
        # As the request came: filters may change it.
        self._content_type: bytes | None = None
        self.is_upgrade: bool = False
        self.upgraded: bool = False
        self.internally_created: bool = False
        self.chain_created: bool = False
        self._route: HttpRoute | None = None
        self._route_looked_up: bool = False
        self._idle_timer: Timer | None = None
        self._request_timer: Timer | None = None
        self._headers_timer: Timer | None = None
        self._duration_timer: Timer | None = None
        self._log_timer: Timer | None = None
        self._ended: bool = False
        self._response_sent: bool = False
        self._counted_upgrade: bool = False
        if settings.request_headers_timeout_ms > 0:
            self._headers_timer = self.dispatcher.timer(self, TIMER_HEADERS)
            self._headers_timer.arm(settings.request_headers_timeout_ms)
        if settings.request_timeout_ms > 0:
            self._request_timer = self.dispatcher.timer(self, TIMER_REQUEST)
            self._request_timer.arm(settings.request_timeout_ms)
        if settings.max_stream_duration_ms > 0:
            self._duration_timer = self.dispatcher.timer(self, TIMER_MAX_DURATION)
            self._duration_timer.arm(settings.max_stream_duration_ms)

    # --- from the codec ---

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:
        if self._ended:
            return
        settings = self.settings
        info = self.stream_info
        self.request_headers = headers
        protocol = self.hcm.protocol
        info.protocol = protocol
        self.is_head = headers.method == b"HEAD"
        if self._headers_timer is not None:
            self._headers_timer.disarm()
        if end_stream:
            self._request_received()
        else:
            self.last_activity_ns = monotonic_ns()
        single = headers.single
        self._content_type = single.get(CONTENT_TYPE)
        if settings.overload.active and self._shed_load():
            return
        if protocol < HTTP2:
            self._note_connection_wishes(headers, protocol)
            if protocol == HTTP10 and not settings.accept_http_10:
                self.send_local_reply(426, "", "low_version")
                return
        if not settings.proxy_100_continue and EXPECT in single and _expects_continue(headers):
            # Answered here, so that neither filters nor upstream need to know of it.
            encoder = self.encoder
            if encoder is not None:
                self._charge_code(_CONTINUE_STATUS)
                encoder.encode_1xx_headers(ResponseHeaderMap(status=_CONTINUE_STATUS))
            headers.remove(EXPECT)
        if not headers.authority:
            if protocol == HTTP10 and settings.default_host_for_http_10:
                headers.authority = settings.default_host_for_http_10
            elif HOST in single:
                # An empty one, which is allowed: the codec has left it among the fields.
                del single[HOST]
            else:
                self.send_local_reply(400, "", "missing_host_header")
                return
        path = headers.path
        if not path:
            if headers.method != b"CONNECT":
                self.send_local_reply(404, "", "missing_path_rejected")
                return
        elif path[0] != 47:  # "/"; so the "*" of OPTIONS is refused too
            settings.stats.rq_non_relative_path.inc()
            self.send_local_reply(404, "", "absolute_path_rejected")
            return
        if headers.method == b"QUERY" and CONTENT_TYPE not in single:
            self.send_local_reply(400, "", "query_missing_content_type")
            return
        if not self.internally_created:
            rejection = settings.header_rules.mutate_request(headers, info)
            if rejection is not None:
                self._reject(rejection)
                return
        if UPGRADE in single and single[UPGRADE].lower() == CONNECT_UDP:
            # What is asked for is the target, not this proxy.
            target = target_authority(path)
            if not target:
                self.send_local_reply(404, "The path is incorrect for CONNECT-UDP", "invalid_path")
                return
            headers.authority = target
        route = self._find_route()
        tracing = settings.tracing
        if tracing is not None and self.trace is None:
            self.trace = start_trace(tracing, settings.stats.tracing, headers, info, route)
        if UPGRADE in single or headers.method == b"CONNECT":
            chain = self._upgrade_chain(headers, route)
            if chain is None:
                return
        else:
            chain = settings.chain
        self._create_filters(chain, route)
        if route is not None:
            self._apply_route_timeouts(route)
        if settings.flush_access_log_on_new_request:
            self._log(log_types.DOWNSTREAM_START)
        if settings.access_log_flush_interval_ms > 0 and settings.access_logs:
            self._log_timer = self.dispatcher.timer(self, TIMER_LOG)
            self._log_timer.arm(settings.access_log_flush_interval_ms)
        if self._idle_timer is None and self.idle_timeout_ms > 0:
            self.hcm.watch_idle(self)
        self.run_decode_headers(0, headers, end_stream)

    def decode_data(self, data: bytes, end_stream: bool) -> None:
        if self._ended:
            return
        self.stream_info.bytes_received += len(data)
        if end_stream:
            self._request_received()
        else:
            self.last_activity_ns = monotonic_ns()
        if self._local_reply_sent or not self.chain_created:
            return
        self.run_decode_data(0, data, end_stream)

    def decode_trailers(self, trailers: HeaderMap) -> None:
        if self._ended:
            return
        self.request_trailers = trailers
        self._request_received()
        if self._local_reply_sent or not self.chain_created:
            return
        self.run_decode_trailers(0, trailers)

    def on_reset_stream(self, reason: int, details: str) -> None:
        """The codec reset the stream: the peer gave it up, or broke the protocol."""
        if self._ended:
            return
        info = self.stream_info
        # Whichever side did it, as in Envoy.
        self.settings.stats.rq_rx_reset.inc()
        if details:
            if reason == RESET_LOCAL or reason == RESET_PROTOCOL_ERROR:
                info.response_flags |= response_flag.DOWNSTREAM_PROTOCOL_ERROR
            elif reason == RESET_REMOTE or reason == RESET_REMOTE_REFUSED_STREAM or reason == RESET_CONNECT_ERROR:
                info.response_flags |= response_flag.DOWNSTREAM_REMOTE_RESET
            info.response_code_details = details
        self._finish()

    def on_connection_closed(self, flag: int, details: str) -> None:
        """The downstream connection is gone with this stream under way."""
        if self._ended:
            return
        self.settings.stats.rq_rx_reset.inc()
        info = self.stream_info
        info.response_flags |= flag
        encoder = self.encoder
        if encoder is not None and encoder.response_details and info.protocol >= HTTP2:
            # The codec has found this stream to be at fault.
            details = encoder.response_details
        # A response that was complete keeps its details.
        if not self._response_sent or not info.response_code_details:
            info.response_code_details = details
        self._finish()

    def on_above_write_buffer_high_watermark(self) -> None:
        self.tell_downstream_high()

    def on_below_write_buffer_low_watermark(self) -> None:
        self.last_activity_ns = monotonic_ns()
        self.tell_downstream_low()

    # --- the request ---

    def _shed_load(self) -> bool:
        """The overload manager turns the request away, before anything is made for it."""
        overload = self.settings.overload
        point = overload.points.get(DECODE_HEADERS)
        if not sheds(overload.stop_accepting_requests) and (point is None or not point.should_shed()):
            return False
        self.settings.stats.rq_overload_close.inc()
        self.send_local_reply(503, "envoy overloaded", "overload")
        return True

    def _request_received(self) -> None:
        """The last byte of the request is here."""
        now = monotonic_ns()
        self.remote_complete = True
        self.last_activity_ns = now
        self.stream_info.last_downstream_rx_ns = now
        if self._request_timer is not None:
            self._request_timer.disarm()

    def _note_connection_wishes(self, headers: RequestHeaderMap, protocol: int) -> None:
        """RFC 9112 section 9.3: whether the client wants the connection to persist."""
        wish = headers.single.get(CONNECTION)
        if protocol == HTTP10:
            # One request per connection, unless asked otherwise.
            self.saw_connection_close = wish is None or wish.lower() != b"keep-alive"
        elif wish is not None and b"close" in wish.lower():
            self.saw_connection_close = has_token(headers.get_joined(CONNECTION), b"close")
        wish = headers.single.get(PROXY_CONNECTION)
        if wish is not None and wish.lower() == b"close":
            self.saw_connection_close = True

    def _reject(self, rejection: Rejection) -> None:
        if rejection.location:
            self.send_local_reply_full(
                rejection.code, rejection.body, _LocationModifier(rejection.location), -1, rejection.details
            )
        else:
            self.send_local_reply(rejection.code, rejection.body, rejection.details)

    def _find_route(self) -> HttpRoute | None:
        """Look the route up and note what the log wants to know of it."""
        self._route_looked_up = True
        headers = self.request_headers
        info = self.stream_info
        route: HttpRoute | None = None
        if headers is not None:
            info.route_resolution_count += 1
            found = self.settings.routes.match(headers, info, self.random_value)
            if found is not None:
                assert isinstance(found, HttpRoute)
                route = found
        self._route = route
        info.route = route
        if route is not None:
            info.route_name = route.name
            info.virtual_host_name = route.virtual_host_name()
        else:
            info.route_name = ""
        return route

    def route(self) -> HttpRoute | None:
        if not self._route_looked_up:
            return self._find_route()
        return self._route

    def clear_route_cache(self) -> None:
        self._route_looked_up = False
        self._route = None

    def set_route(self, route: HttpRoute | None) -> None:
        """Replace the route (Envoy's setRoute)."""
        self._route = route
        self._route_looked_up = True
        self.stream_info.route = route

    def _upgrade_chain(self, headers: RequestHeaderMap, route: HttpRoute | None) -> HttpFilterChain | None:
        """The chain for an Upgrade or CONNECT request; None when that was refused (and answered)."""
        if headers.method == b"CONNECT":
            kind = headers.protocol.lower() if headers.protocol else b"connect"
        else:
            if not has_token(headers.get_joined(CONNECTION), b"upgrade"):
                return self.settings.chain
            kind = headers.single[UPGRADE].lower()
        self.is_upgrade = True
        entry = self.settings.upgrades.get(kind)
        by_route = -1
        if route is not None:
            by_route = route.upgrade_enabled(kind)
        allowed = by_route == 1 or (by_route < 0 and entry is not None and entry.enabled)
        if not allowed:
            if route is None:
                # The router says so.
                self.is_upgrade = False
                return self.settings.chain
            self.settings.stats.rq_ws_on_non_ws_route.inc()
            if self.stream_info.protocol >= HTTP2 and not self.hcm.closing:
                self.hcm.start_drain()
            self.send_local_reply(403, "", "upgrade_failed")
            return None
        # Counted when it begins, whatever the answer will be.
        self._counted_upgrade = True
        self.settings.stats.cx_upgrades_total.inc()
        self.settings.stats.cx_upgrades_active.inc()
        if entry is not None and entry.chain is not None:
            return entry.chain
        return self.settings.chain

    def _create_filters(self, chain: HttpFilterChain, route: HttpRoute | None) -> None:
        self.chain_created = True
        check_routes = route is not None and route.has_filter_switches()
        if not check_routes and not chain.any_disabled:
            for entry in chain.entries:
                self.create_filter(entry)
        else:
            for entry in chain.entries:
                disabled = entry.disabled
                if route is not None:
                    by_route = route.filter_disabled(entry.name)
                    if by_route >= 0:
                        disabled = by_route == 1
                if not disabled:
                    self.create_filter(entry)
        self.finish_chain()

    def _apply_route_timeouts(self, route: HttpRoute) -> None:
        """Per-route idle timeout and stream duration take the place of the connection manager's."""
        idle = route.idle_timeout_override()
        if idle >= 0:
            self.idle_timeout_ms = idle
            if idle > 0:
                self._idle_timer = self.dispatcher.timer(self, TIMER_IDLE)
                self._idle_timer.arm(idle)
        headers = self.request_headers
        if headers is None:
            return
        duration = route.stream_duration(headers, self.settings.max_stream_duration_ms)
        if duration >= 0:
            if self._duration_timer is not None:
                self._duration_timer.disarm()
                self._duration_timer = None
            if duration > 0:
                self._duration_timer = self.dispatcher.timer(self, TIMER_MAX_DURATION)
                self._duration_timer.arm(duration)

    def flush_timeout(self) -> int:
        """Milliseconds that the complete response may wait for the client's window; 0 = for ever."""
        if self._route is not None:
            by_route = self._route.flush_timeout_override()
            if by_route >= 0:
                return by_route
        by_manager = self.settings.stream_flush_timeout_ms
        return by_manager if by_manager >= 0 else self.idle_timeout_ms

    # --- timers ---

    def on_timer(self, kind: int) -> None:
        if self._ended:
            return
        if kind == TIMER_IDLE:
            self.check_idle(monotonic_ns())
        elif kind == TIMER_REQUEST:
            self.settings.stats.rq_timeout.inc()
            self.send_local_reply(408, "request timeout", "request_overall_timeout")
        elif kind == TIMER_HEADERS:
            self.settings.stats.rq_header_timeout.inc()
            self.send_local_reply(408, "request header timeout", "request_header_timeout")
        elif kind == TIMER_MAX_DURATION:
            self._on_max_duration()
        elif kind == TIMER_LOG:
            self._log(log_types.DOWNSTREAM_PERIODIC)
            if self._log_timer is not None:
                self._log_timer.arm(self.settings.access_log_flush_interval_ms)

    def check_idle(self, now_ns: int) -> int:
        """Time out when idle for too long; else milliseconds until that would be (0 = never, or over)."""
        limit = self.settings.overload.timeout(STREAM_IDLE, self.idle_timeout_ms)
        if limit <= 0 or self._ended:
            return 0
        left = limit - (now_ns - self.last_activity_ns) // _NANOS_PER_MS
        if left > 0:
            if self._idle_timer is not None:
                self._idle_timer.arm(left)
                return 0
            return left
        self.settings.stats.rq_idle_timeout.inc()
        info = self.stream_info
        info.response_flags |= response_flag.STREAM_IDLE_TIMEOUT
        if self._encoded_headers or self._response_sent:
            info.response_code_details = "stream_idle_timeout"
            self.reset_stream(RESET_LOCAL, "stream_idle_timeout")
        else:
            # 408 while the client still owes us its request, else it is upstream that is silent.
            code = 504 if self.remote_complete else 408
            self.send_local_reply(code, "stream timeout", "stream_idle_timeout")
        return 0

    def _on_max_duration(self) -> None:
        self.settings.stats.rq_max_duration_reached.inc()
        if self._encoded_headers:
            self.stream_info.response_code_details = "max_duration_timeout"
            self.reset_stream(RESET_LOCAL, "max_duration_timeout")
        else:
            code = 504 if self.remote_complete else 408
            self.send_local_reply_full(
                code, "downstream duration timeout", None, GRPC_DEADLINE_EXCEEDED, "max_duration_timeout"
            )

    # --- local replies ---

    def send_local_reply_full(
        self, code: int, body: str, modifier: LocalReplyModifier | None, grpc_status: int, details: str
    ) -> None:
        if self._ended or self._destroyed:
            return
        info = self.stream_info
        encoder = self.encoder
        if code == 400 and info.protocol < HTTP2:
            if encoder is None or not encoder.stream_error_on_invalid_http_message():
                info.should_drain_connection = True
        if not self.chain_created:
            # So that encoder filters and log filters see the answer too.
            self._create_filters(self.settings.chain, None)
        reset = self.run_on_local_reply(code, details)
        if self._ended:
            return
        info.response_code_details = details.replace(" ", "_")
        if reset or self._encoded_headers:
            self._local_reply_sent = True
            self.reset_stream(RESET_LOCAL, info.response_code_details)
            return
        self._local_reply_sent = True
        headers = ResponseHeaderMap(status=code)
        request = self.request_headers
        if self._route is not None and request is not None:
            self._route.edit_local_reply(headers, request, info)
        if modifier is not None:
            modifier.modify(headers)
        raw_body = body.encode("utf-8", "surrogateescape")
        # Formats and filters of the local-reply configuration see these headers.
        context = FormatContext(info, request, headers, None, raw_body)
        if is_grpc_content_type(self._content_type):
            self.settings.local_reply.apply_grpc(context, headers, raw_body, grpc_status, self.is_head)
            raw_body = b""
        else:
            raw_body = self.settings.local_reply.apply(context, headers, raw_body)
        no_body = not raw_body or self.is_head
        if self.response_headers is None:
            self.encode_headers_from(None, headers, no_body)
            if not no_body and not self._ended:
                self.encode_data_from(None, raw_body, True)
        else:
            # A response is under way in the filters but not sent: this one goes out past them.
            self.response_headers = headers
            self._encoded_headers = True
            self.local_complete = True
            self.send_headers(headers, no_body)
            if not no_body and not self._ended:
                self.send_data(raw_body, True)
            self.on_response_sent()

    # --- the response ---

    def send_1xx_headers(self, headers: ResponseHeaderMap) -> None:
        encoder = self.encoder
        if encoder is None or self._ended:
            return
        if not self.settings.proxy_100_continue:
            return
        self.settings.header_rules.mutate_response(self.request_headers, headers, self.stream_info)
        self._charge_code(headers.status)
        encoder.encode_1xx_headers(headers)

    def send_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> None:
        encoder = self.encoder
        if encoder is None or self._ended:
            return
        settings = self.settings
        info = self.stream_info
        hcm = self.hcm
        settings.header_rules.mutate_response(self.request_headers, headers, info)
        if self.trace is not None:
            self.trace.on_response_headers(headers)
        if not hcm.closing and not hcm.draining and settings.drain.drain_close():
            settings.stats.cx_drain_close.inc()
            hcm.start_drain()
        if settings.overload.active:
            hcm.end_keepalive_when_overloaded()
        protocol = info.protocol
        if protocol < HTTP2:
            if self.saw_connection_close or info.should_drain_connection:
                hcm.closing = True
            elif protocol == HTTP10 and not end_stream and CONTENT_LENGTH not in headers.single:
                # There is no chunked coding in HTTP/1.0: the body ends with the connection (RFC 9112 section 6.3).
                hcm.closing = True
            tunnel = self.is_upgrade and (headers.status == 101 or _is_connect_success(self.request_headers, headers))
            if not self.remote_complete:
                settings.stats.rq_response_before_rq_complete.inc()
                if not tunnel:
                    # Without the rest of the request the connection is of no further use (RFC 9112 section 9.3).
                    hcm.closing = True
            if tunnel:
                self.upgraded = True
            elif hcm.closing or hcm.draining:
                headers.set(CONNECTION, b"close")
            elif protocol == HTTP10:
                headers.set(CONNECTION, b"keep-alive")
        else:
            if self.is_upgrade and (headers.status == 101 or _is_connect_success(self.request_headers, headers)):
                self.upgraded = True
            if not self.remote_complete:
                settings.stats.rq_response_before_rq_complete.inc()
        status = headers.status
        info.response_code = status
        self._charge_code(status)
        now = monotonic_ns()
        self.last_activity_ns = now
        info.first_downstream_tx_ns = now
        encoder.encode_headers(headers, end_stream)
        if self.upgraded and settings.flush_log_on_tunnel_successfully_established:
            self._log(log_types.DOWNSTREAM_TUNNEL_SUCCESSFULLY_ESTABLISHED)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        encoder = self.encoder
        if encoder is None or self._ended:
            return
        self.stream_info.bytes_sent += len(data)
        self.last_activity_ns = monotonic_ns()
        encoder.encode_data(data, end_stream)

    def send_trailers(self, trailers: HeaderMap) -> None:
        encoder = self.encoder
        if encoder is None or self._ended:
            return
        self.settings.header_rules.mutate_response_trailers(trailers)
        encoder.encode_trailers(trailers)

    def on_response_sent(self) -> None:
        if self._ended:
            return
        self._response_sent = True
        self.local_complete = True
        self.stream_info.last_downstream_tx_ns = monotonic_ns()
        self.hcm.end_stream(self)

    def _charge_code(self, status: int) -> None:
        if self.stream_info.health_check:
            return
        stats = self.settings.stats
        listener = self.settings.listener_stats
        stats.rq_completed.value += 1
        listener.completed.value += 1
        kind = status // 100
        if kind < 1 or kind > 5:
            return
        stats.rq_by_class[kind].value += 1
        listener.by_class[kind].value += 1

    def on_request_too_large(self) -> None:
        self.settings.stats.rq_too_large.inc()
        self.send_local_reply(413, "Payload Too Large", "request_payload_too_large")

    def on_response_too_large(self) -> None:
        self.settings.stats.rs_too_large.inc()
        if self._encoded_headers:
            self.stream_info.response_code_details = "response_payload_too_large"
            self.reset_stream(RESET_LOCAL, "response_payload_too_large")
        else:
            self.send_local_reply(500, "Internal Server Error", "response_payload_too_large")

    # --- flow control ---

    def on_decoder_filter_above_write_buffer_high_watermark(self) -> None:
        encoder = self.encoder
        if encoder is not None and not self._ended:
            self.settings.stats.flow_control_paused.inc()
            encoder.read_disable(True)

    def on_decoder_filter_below_write_buffer_low_watermark(self) -> None:
        encoder = self.encoder
        if encoder is not None and not self._ended:
            self.settings.stats.flow_control_resumed.inc()
            encoder.read_disable(False)

    # --- the end ---

    def reset_stream(self, reason: int, details: str) -> None:
        if self._ended:
            return
        if details and not self.stream_info.response_code_details:
            self.stream_info.response_code_details = details
        self.settings.stats.rq_tx_reset.inc()
        self.hcm.abort_stream(self, reason)

    def recreate_stream(self, headers: RequestHeaderMap | None) -> bool:
        """Serve the request anew with `headers` (an internal redirect): a new stream takes the codec's encoder."""
        encoder = self.encoder
        if not self.remote_complete or self._encoded_headers or encoder is None or self._ended:
            return False
        request = headers if headers is not None else self.request_headers
        if request is None:
            return False
        buffered = self._request_buffer
        body = buffered.peek() if buffered is not None and buffered.size else b""
        filter_state = self.stream_info.filter_state
        self.encoder = None
        self.hcm.replace_stream(self, encoder, request, body, filter_state)
        return True

    def finish(self) -> None:
        """The connection manager has let go of this stream."""
        self._finish()

    def _finish(self) -> None:
        if self._ended:
            return
        self._ended = True
        for timer in (
            self._idle_timer,
            self._request_timer,
            self._headers_timer,
            self._duration_timer,
            self._log_timer,
        ):
            if timer is not None:
                timer.disarm()
        # Timers point back here; without them the stream is freed at once, not by the collector.
        self._idle_timer = self._request_timer = self._headers_timer = self._duration_timer = self._log_timer = None
        info = self.stream_info
        encoder = self.encoder
        if encoder is not None:
            info.wire_bytes_received = encoder.wire_bytes_received
            info.wire_bytes_sent = encoder.wire_bytes_sent
            info.header_bytes_received = encoder.header_bytes_received
            info.header_bytes_sent = encoder.header_bytes_sent
        info.end_ns = monotonic_ns()
        stats = self.settings.stats
        if self._counted_upgrade:
            stats.cx_upgrades_active.dec()
        if not info.health_check:
            stats.rq_time.record((info.end_ns - info.start_mono_ns) // _NANOS_PER_MS)
        self.run_on_stream_complete()
        if self.settings.access_logs:
            self._log(log_types.DOWNSTREAM_END)
        if self.trace is not None:
            self.trace.finish(
                FormatContext(info, self.request_headers, self.response_headers, self.response_trailers)
            )
            self.trace = None
        self.destroy_filters()
        self.encoder = None
        self._route = None
        self.hcm.on_stream_finished(self)

    def _log(self, log_type: str) -> None:
        context = FormatContext(
            self.stream_info,
            self.request_headers,
            self.response_headers,
            self.response_trailers,
            b"",
            log_type,
        )
        for log in self.settings.access_logs:
            log.log(context)


class _LocationModifier(LocalReplyModifier):
    """Adds the target of a redirect to a local reply."""

    __slots__ = ("location",)

    def __init__(self, location: bytes) -> None:
        self.location = location

    def modify(self, headers: ResponseHeaderMap) -> None:
        headers.set(LOCATION, self.location)


def _expects_continue(headers: RequestHeaderMap) -> bool:
    value = headers.single.get(EXPECT)
    return value is not None and value.lower() == b"100-continue"


def _is_connect_success(request: RequestHeaderMap | None, response: ResponseHeaderMap) -> bool:
    return request is not None and request.method == b"CONNECT" and 200 <= response.status < 300
