
"""HTTP/2 from clients, frame by frame, and HTTP/2 towards upstreams: messages, faults, floods, drains."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence

import hpack
import pytest

from outrider.native import load_http2
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.http1_message import answer
from tests.support.upstream import Answer, CloseNow, EchoTunnel

pytestmark = pytest.mark.skipif(not load_http2.AVAILABLE, reason="libnghttp2 was not there when this was built")

H2 = "explicit_http_config: {http2_protocol_options: {allow_connect: true}}"
TO_H2 = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /hang}, route: {cluster: hang, timeout: 0.3s}}
  - {match: {prefix: /}, route: {cluster: loop}}
"""
HOSTS = """
- name: all
  domains: ["*"]
  routes:
  - {match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string: hello}}}
  - {match: {prefix: /hang}, route: {cluster: hang, timeout: 0.3s}}
  - {match: {prefix: /}, route: {cluster: up}}
"""

TUNNEL_HOSTS = """
- name: all
  domains: ["*"]
  routes:
  - {match: {connect_matcher: {}}, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
  - {match: {prefix: /}, route: {cluster: up}}
"""
TUNNEL_FRONT = """
- name: all
  domains: ["*"]
  routes:
  - {match: {connect_matcher: {}, headers: [{name: x-h1, present_match: true}]}, route: {cluster: tunnels_h1}}
  - {match: {prefix: /, headers: [{name: x-h1, present_match: true}]}, route: {cluster: tunnels_h1}}
  - {match: {connect_matcher: {}}, route: {cluster: tunnels}}
  - {match: {prefix: /}, route: {cluster: tunnels}}
"""
BIG = f"""
- name: all
  domains: ["*"]
  routes:
  - {{match: {{prefix: /route}}, route: {{cluster: up, flush_timeout: 0.2s}}}}
  - {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: "{'x' * 100}"}}}}}}
"""
GROUP = SideConfig(
    bootstrap(
        [
            http("main", HOSTS, options="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}"),
            http("front", TO_H2),
            http("tunnels", TUNNEL_HOSTS, options="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]}"),
            http("tunnels_front", TUNNEL_FRONT, options="{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]}"),
            http("stream_error", HOSTS, options="http2_protocol_options: {override_stream_error_on_invalid_http_message: true}"),
            http("small", HOSTS, options="{max_request_headers_kb: 1, common_http_protocol_options: {max_headers_count: 8}}"),
            http("idle", HOSTS, options="{common_http_protocol_options: {idle_timeout: 0.4s}, drain_timeout: 0.3s}"),
            http("two", HOSTS, options="{common_http_protocol_options: {max_requests_per_connection: 2}, drain_timeout: 0.3s}"),
            http("only", HOSTS, options="{codec_type: HTTP2, http2_protocol_options: {max_concurrent_streams: 2, initial_stream_window_size: 65535, initial_connection_window_size: 65535}}"),
            http("alive", HOSTS, options="http2_protocol_options: {connection_keepalive: {interval: 0.2s, timeout: 0.2s, interval_jitter: {value: 0}}}"),
            http("flushing", BIG, options="{stream_idle_timeout: 0.3s}"),
            http("flush_timeout", BIG, options="{stream_flush_timeout: 0.3s}"),
            http("reject", HOSTS, options="common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"),
        ],
        [
            cluster("up"),
            cluster("loop", "<<port:main>>", protocol=H2),
            cluster("tunnels", "<<port:tunnels>>", protocol=H2),
            cluster("tunnels_h1", "<<port:tunnels>>"),
            cluster("hang", "<<silent:a>>"),
        ],
    )
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NAMES = {0: "DATA", 1: "HEADERS", 3: "RST_STREAM", 4: "SETTINGS", 6: "PING", 7: "GOAWAY", 8: "WINDOW_UPDATE"}
Field = tuple[str, str]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


START = PREFACE + frame(4, 0, 0)


def block(*extra: Field, method: str = "GET", path: str = "/", count: int = 4) -> bytes:
    """A header block that leaves the compression table alone, so that each stands for itself."""
    fields = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)][:count]
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*each) for each in [*fields, *extra]])


def request(stream: int = 1, *extra: Field, end: bool = True, method: str = "GET", path: str = "/", count: int = 4) -> bytes:
    return frame(1, 5 if end else 4, stream, block(*extra, method=method, path=path, count=count))


def connect(*fields: Field) -> bytes:
    return frame(1, 4, 1, hpack.Encoder().encode([(":method", "CONNECT"), *fields]))


def trailers(stream: int, *fields: Field) -> bytes:
    return frame(1, 5, stream, hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*each) for each in fields]))


class Talk:
    """One connection: sends steps (bytes, or seconds to wait), then lists the frames that came."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.received = b""
        self.end = "open"

    def run(self, steps: Sequence[bytes | float], wait: float) -> str:
        try:
            for step in steps:
                if isinstance(step, bytes):
                    try:
                        self.socket.sendall(step)
                    except OSError:
                        self.end = "closed"
                else:
                    self._read(step)
            self._read(wait)
        finally:
            self.socket.close()
        return self._text()

    def _read(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.end == "open" and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 20)
            except TimeoutError:
                return
            except OSError:
                data = b""
            if not data:
                self.end = "closed"
            self.received += data

    def _text(self) -> str:
        data = self.received
        decoder = hpack.Decoder()
        lines: list[str] = []
        bodies: dict[int, bytes] = {}
        if data.startswith(b"HTTP/1"):
            return re.sub("date: .*", "", data.decode("latin-1")) + self.end
        while len(data) >= 9:
            size = int.from_bytes(data[:3], "big")
            kind, flags, stream, payload = data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]
            data = data[9 + size :]
            if kind in (4, 8):
                # Windows are given back in steps of one's own choosing.
                continue
            if kind == 0:
                bodies[stream] = bodies.get(stream, b"") + payload
                if flags & 1:
                    lines.append(f"BODY {stream} {len(bodies[stream])} {bodies[stream][:600]!r}")
                continue
            if kind == 1:
                fields = [(str(name), str(value)) for name, value in decoder.decode(payload)]
                fields = [each for each in fields if each[0] not in ("date", "x-envoy-upstream-service-time")]
                lines.append(f"HEADERS {flags} {stream} {fields}")
            elif kind == 6 and not flags & 1:
                lines.append("PING")
            else:
                lines.append(f"{NAMES.get(kind, kind)} {flags} {stream} {payload.hex()}")
        if len(lines) > 20:
            lines = [*lines[:3], f"{len(lines)} frames"]
        return "\n".join([*lines, self.end])


# Name, listener, steps, seconds to listen afterwards.
Row = tuple[str, str, Sequence[bytes | float], float]
CASES: list[Row] = [
    ("get", "main", [START + request()], 0.5),
    ("three_at_once", "main", [START + request(1, path="/direct/1") + request(3, path="/direct/2") + request(5, path="/direct/3")], 0.4),
    ("post", "main", [START + request(end=False, method="POST") + frame(0, 0, 1, b"abc") + frame(0, 1, 1, b"def")], 0.5),
    ("post_padded", "main", [START + request(end=False, method="POST") + frame(0, 9, 1, b"\x03abc\0\0\0")], 0.5),
    ("head", "main", [START + request(method="HEAD", path="/direct")], 0.4),
    ("fields", "main", [START + request(1, ("cookie", "a=1"), ("cookie", "b=2"), ("accept", "x"), ("accept", "y"), ("x-a", "1"), ("x-a", "2"), ("te", "trailers"))], 0.5),
    ("host_and_authority", "main", [START + request(1, ("host", "other"))], 0.5),
    ("request_trailers_to_http2", "front", [START + request(end=False, method="POST") + frame(0, 0, 1, b"abc") + trailers(1, ("x-t", "1"))], 0.6),
    ("http2_upstream", "front", [START + request(1, ("x-a", "1")), 0.3, request(3, path="/direct")], 0.5),
    ("http2_upstream_large", "front", [START + request(end=False, method="POST") + frame(0, 0, 1, b"x" * 16384) * 3 + frame(0, 1, 1, b"y")], 0.6),
    ("early_answer", "main", [START + request(end=False, method="POST", path="/direct")], 0.5),
    ("expect", "main", [START + request(1, ("expect", "100-continue"), end=False, method="POST"), 0.2, frame(0, 1, 1, b"x")], 0.5),
    ("no_connection_for_upgrade", "main", [START + connect((":authority", "test:80"))], 0.5),
    ("continuation", "main", [START + frame(1, 1, 1, block(path="/direct")[:9]) + frame(9, 0, 1, block(path="/direct")[9:12]) + frame(9, 4, 1, block(path="/direct")[12:])], 0.4),
    ("priority_fields", "main", [START + frame(1, 0x25, 1, bytes(4) + b"\x10" + block(path="/direct"))], 0.4),
    ("unknown_frame", "main", [START + frame(77, 0, 0, b"abc") + request(path="/direct")], 0.4),
    ("goaway_by_client", "main", [START + frame(7, 0, 0, bytes(8)), 0.1, request(path="/direct")], 0.4),
    ("goaway_by_client_between", "main", [START + request(1, path="/direct") + frame(7, 0, 0, bytes(8)) + request(3, path="/direct")], 0.4),
    ("ping", "main", [START + frame(6, 0, 0, b"12345678")], 0.3),
    ("zero_window", "main", [PREFACE + frame(4, 0, 0, b"\0\4\0\0\0\0") + request(path="/direct"), 0.3, frame(8, 0, 1, b"\0\0\0\x64")], 0.4),
    ("never_taken", "flushing", [PREFACE + frame(4, 0, 0, b"\0\4\0\0\0\0") + request(path="/big")], 0.9),
    ("never_taken_flush", "flush_timeout", [PREFACE + frame(4, 0, 0, b"\0\4\0\0\0\0") + request(path="/big")], 0.6),
    ("taken_in_time", "flushing", [PREFACE + frame(4, 0, 0, b"\0\4\0\0\0\0") + request(path="/big"), 0.1, frame(8, 0, 1, b"\0\0\0\xff")], 0.6),
    ("upload_beyond_the_window", "only", [START + request(end=False, method="POST") + frame(0, 0, 1, b"x" * 10000) * 6, 0.3, frame(0, 0, 1, b"x" * 10000) * 5 + frame(0, 1, 1, b"y")], 0.6),
    ("refused_stream", "only", [START + request(1, path="/hang"), 0.1, request(3, path="/hang") + request(5, path="/hang")], 0.8),
    ("reset_by_client", "main", [START + request(path="/hang"), 0.1, frame(3, 0, 1, b"\0\0\0\x08")], 0.3),
    ("timeout", "main", [START + request(path="/hang")], 0.8),
    ("te_other", "main", [START + request(1, ("te", "gzip"))], 1.5),
    ("te_other_stream", "stream_error", [START + request(1, ("te", "gzip")) + request(3, path="/direct")], 0.4),
    ("connection_field", "stream_error", [START + request(1, ("connection", "close"))], 0.4),
    ("upper_case", "stream_error", [START + request(1, ("X-A", "1"))], 0.4),
    ("no_path", "stream_error", [START + request(count=3)], 0.4),
    ("empty_path", "stream_error", [START + request(path="")], 0.4),
    ("too_large", "small", [START + request(1, ("x-a", "a" * 1200)) + request(3, path="/direct")], 0.4),
    ("too_many", "small", [START + request(1, *[(f"x-{n}", "a") for n in range(9)])], 0.4),
    ("underscore", "reject", [START + request(1, ("x_a", "a"))], 0.4),
    ("data_on_connection", "main", [START + frame(0, 0, 0, b"x")], 1.5),
    ("data_on_idle_stream", "main", [START + frame(0, 0, 5, b"x")], 1.5),
    ("frame_too_large", "main", [START + request(end=False, method="POST", path="/hang") + frame(0, 0, 1, b"x" * 20000)], 1.5),
    ("push_promise", "main", [START + frame(5, 4, 1, bytes(4) + block())], 1.5),
    ("broken_compression", "main", [START + frame(1, 5, 1, b"\xff\xff\xff\xff\xff")], 1.5),
    ("not_http2", "only", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"], 1.5),
    ("preface_in_pieces", "main", [PREFACE[:10], 0.2, PREFACE[10:]], 1.5),
    ("empty_frames", "main", [START + request(end=False, method="POST", path="/hang") + frame(0, 0, 1) * 3], 1.5),
    ("frames_of_padding", "main", [START + request(end=False, method="POST", path="/hang") + frame(0, 8, 1, b"\x01\0") * 3], 1.5),
    ("empty_continuations", "main", [START + frame(1, 1, 1) + frame(9, 0, 1) * 3], 1.5),
    ("ping_flood", "main", [START + frame(6, 0, 0, bytes(8)) * 3000], 1.5),
    ("settings_flood", "main", [START + frame(4, 0, 0) * 3000], 1.5),
    ("priority_flood", "main", [START + frame(2, 0, 1, bytes(4) + b"\x10") * 150], 1.5),
    ("window_update_flood", "main", [START + frame(8, 0, 0, b"\0\0\0\1") * 20], 1.5),
    ("idle", "idle", [START + request(path="/direct")], 1.8),
    ("two_requests", "two", [START + request(1, path="/direct") + request(3, path="/direct") + request(5, path="/direct")], 1.8),
    ("keep_alive_unanswered", "alive", [START + request(path="/direct")], 0.8),
]

# Chance, or (h2 towards ourselves) the order in which two connections close.
IGNORED = re.compile(r"cx_length|pending_send_bytes|outbound_.*_active|_bytes_|cx_delayed_close_timeout|circuit_breakers")
NO_STATS = {"ping_flood", "settings_flood"}


# The upstream's answers come last.
TunnelRow = tuple[str, str, Sequence[bytes | float], float, Sequence[Answer]]
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
ECHO: Sequence[Answer] = [[SWITCHED, EchoTunnel()]]
WEBSOCKET = ((":protocol", "websocket"), (":scheme", "http"), (":path", "/chat"), (":authority", "test"), ("sec-websocket-version", "13"))
OVER_H1 = b"GET /chat HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
INSIDE = b"GET /in HTTP/1.1\r\nhost: inside\r\n\r\n"
TUNNELS: list[TunnelRow] = [
    ("websocket", "tunnels", [START + connect(*WEBSOCKET), 0.3, frame(0, 0, 1, b"hello"), 0.3, frame(0, 0, 1, b"again"), 0.2, frame(3, 0, 1, b"\0\0\0\x08")], 0.3, ECHO),
    ("websocket_refused", "tunnels", [START + connect(*WEBSOCKET)], 0.5, [[answer("403 Forbidden", body=b"no")]]),
    ("websocket_answered_200", "tunnels", [START + connect(*WEBSOCKET)], 0.5, [[answer("200 OK", body=b"no")]]),
    ("websocket_upstream_ends", "tunnels", [START + connect(*WEBSOCKET), 0.3], 0.5, [[SWITCHED, b"bye", CloseNow()]]),
    ("websocket_to_h2", "tunnels_front", [START + connect(*WEBSOCKET), 0.6, frame(0, 0, 1, b"hello"), 0.6, frame(3, 0, 1, b"\0\0\0\x08")], 0.4, ECHO),
    ("websocket_to_h2_refused", "tunnels_front", [START + connect(*WEBSOCKET)], 0.6, [[answer("403 Forbidden", body=b"no")]]),
    ("websocket_h1_to_h2", "tunnels_front", [OVER_H1 + b"\r\n", 0.4, b"hello", 0.3], 0.1, ECHO),
    ("websocket_h1_to_h2_refused", "tunnels_front", [OVER_H1 + b"\r\n"], 0.6, [[answer("403 Forbidden", body=b"no")]]),
    ("websocket_h2_to_h1_to_h1", "tunnels_front", [START + connect(*WEBSOCKET, ("x-h1", "1")), 0.6, frame(0, 0, 1, b"hello"), 0.6, frame(3, 0, 1, b"\0\0\0\x08")], 0.4, ECHO),
    ("other_protocol", "tunnels", [START + connect((":protocol", "other"), *WEBSOCKET[1:])], 0.4, ECHO),
    ("connect", "tunnels", [START + connect((":authority", "test:80")), 0.3, frame(0, 0, 1, INSIDE), 0.6, frame(3, 0, 1, b"\0\0\0\x08")], 0.3, []),
    ("connect_to_h2", "tunnels_front", [START + connect((":authority", "test:80")), 0.3, frame(0, 0, 1, INSIDE), 0.6, frame(3, 0, 1, b"\0\0\0\x08")], 0.4, []),
    ("connect_to_h1", "tunnels_front", [START + connect((":authority", "test:80"), ("x-h1", "1")), 0.3, frame(0, 0, 1, INSIDE), 0.6, frame(3, 0, 1, b"\0\0\0\x08")], 0.4, []),
    ("connect_h1_to_h2", "tunnels_front", [b"CONNECT test:80 HTTP/1.1\r\nhost: test:80\r\n\r\n", 0.6, INSIDE, 0.3], 0.1, []),
]  # fmt: skip


class Seen:
    """What one side did."""

    def __init__(self, side: Side, row: Row, answers: Sequence[Answer] = ()) -> None:
        name, listener, steps, wait = row
        for upstream in side.upstreams.values():
            upstream.play(answers)
        side.mark()
        text = Talk(side.port_of(f"port:{listener}")).run(steps, wait)
        wait_for(side.is_quiet, 2.0)
        changes = {key: value for key, value in side.changed_stats().items() if not IGNORED.search(key)}
        lines = [text]
        if name not in NO_STATS:
            normal = side.normalizer()
            lines += sorted(normal(f"{key} {value}") for key, value in changes.items())
        self.changes = changes
        # The log of the front proxy's own upstream comes second, or first.
        self.text = "\n".join(lines + sorted(side.new_log_lines()))


@pytest.mark.parametrize("row", CASES, ids=[row[0] for row in CASES])
def test_http2(pair: Pair, row: Row) -> None:
    def observe(side: Side) -> Seen:
        return Seen(side, row)

    seen = pair._each(observe)
    assert seen[0].changes, "nothing happened"
    pair.same([each.text for each in seen], row[0])


@pytest.mark.parametrize("row", TUNNELS, ids=[row[0] for row in TUNNELS])
def test_tunnels(pair: Pair, row: TunnelRow) -> None:
    def observe(side: Side) -> Seen:
        return Seen(side, row[:4], row[4])

    seen = pair._each(observe)
    assert seen[0].changes, "nothing happened"
    pair.same([each.text for each in seen], row[0])
