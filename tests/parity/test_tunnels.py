
"""Upgrades, CONNECT, body buffering between listeners and upstreams, connection reuse, stats of virtual clusters."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, request
from tests.support.raw_client import Contains, Responses, ShutdownWrite
from tests.support.upstream import CloseNow, EchoTunnel, Hang, ResetNow

UPGRADE_HOSTS = """
- name: all
  domains: ["*"]
  routes:
  - {match: {connect_matcher: {}}, name: connect, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT}]}}
  - {match: {prefix: /denied}, name: denied, route: {cluster: up, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}
  - {match: {prefix: /other}, name: other, route: {cluster: up, upgrade_configs: [{upgrade_type: other}]}}
  - {match: {prefix: /timeout}, name: timeout, route: {cluster: up, timeout: 0.3s}}
  - {match: {prefix: /idle}, name: idle, route: {cluster: up, timeout: 0s, idle_timeout: 0.3s}}
  - {match: {prefix: /dead}, name: dead, route: {cluster: dead}}
  - {match: {prefix: /}, name: rest, route: {cluster: up}}
"""
TERMINATE = """
- name: all
  domains: ["*"]
  routes:
  - {match: {connect_matcher: {}}, name: connect, route: {cluster: up, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
"""
DEAD_TERMINATE = TERMINATE.replace("cluster: up", "cluster: dead")
PLAIN = "[{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: up}}]}]"

GROUP = SideConfig(
    bootstrap(
        [
            http("main", UPGRADE_HOSTS, options="upgrade_configs: [{upgrade_type: websocket}]"),
            http("plain", PLAIN),
            http("nothing", "[{name: all, domains: ['*'], routes: [{match: {path: /only}, route: {cluster: up}}]}]"),
            http("configured", PLAIN, options="upgrade_configs: [{upgrade_type: CONNECT}]"),
            http("terminate", TERMINATE, options="upgrade_configs: [{upgrade_type: CONNECT}]"),
            http("terminate_dead", DEAD_TERMINATE, options="upgrade_configs: [{upgrade_type: CONNECT}]"),
        ],
        [cluster("up"), cluster("dead", "<<refused:a>>")],
    )
)

WEBSOCKET = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\n"
OPENED = b"HTTP/1.1 200 Connection Established\r\n\r\n"


def upgrade(target: str = "/", kind: str = "websocket") -> bytes:
    return request("GET", target, headers=[(name, kind if name == "upgrade" else value) for name, value in WEBSOCKET])


CASES = [
    Case("websocket", [upgrade(), Responses(1), b"hello", Contains(b"hello"), ShutdownWrite()], 101, answers=[[SWITCH, EchoTunnel()]], to_end=True, logs=1),
    Case("websocket_case", [request("GET", "/", headers=[("Connection", "keep-alive, upgrade"), ("Upgrade", "WebSocket")]), Responses(1), b"hello", Contains(b"hello"), ShutdownWrite()], 101, answers=[[SWITCH, EchoTunnel()]], to_end=True, logs=1),
    Case("websocket_early_data", [upgrade() + b"early", Responses(1), Contains(b"early"), ShutdownWrite()], 101, answers=[[SWITCH, EchoTunnel()]], to_end=True, logs=1),
    Case("websocket_upstream_closes", [upgrade(), Responses(1)], 101, answers=[[SWITCH, b"bye", 0.05, CloseNow()]], to_end=True, logs=1),
    Case("websocket_upstream_resets", [upgrade(), Responses(1)], 101, answers=[[SWITCH, 0.1, ResetNow()]], to_end=True, logs=1, response=False),
    Case("websocket_refused_by_upstream", [upgrade()], 403, answers=[[answer("403 Forbidden", body=b"no")]]),
    Case("websocket_answered_200", [upgrade()], None, answers=[[answer()]]),
    Case("websocket_not_configured", [upgrade()], 403, listener="plain"),
    Case("websocket_denied_by_route", [upgrade("/denied")], 403),
    Case("other_by_route", [upgrade("/other", "other"), Responses(1), b"echoed", Contains(b"echoed"), ShutdownWrite()], 101, answers=[[SWITCH.replace(b"websocket", b"other"), EchoTunnel()]], to_end=True, logs=1),
    Case("unknown_upgrade", [upgrade("/", "unknown")], 403),
    Case("upgrade_without_connection", get("/", "test", ("upgrade", "websocket"))),
    Case("connection_upgrade_without_upgrade", get("/", "test", ("connection", "upgrade"))),
    Case("h2c_ignored", get("/", "test", ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk"))),
    Case("websocket_dead", [upgrade("/dead")], 503),
    Case("websocket_no_timeout_after", [upgrade("/timeout"), Responses(1), 0.45, b"still", Contains(b"still"), ShutdownWrite()], 101, answers=[[SWITCH, EchoTunnel()]], to_end=True, logs=1),
    Case("websocket_timeout_before", [upgrade("/timeout")], 504, answers=[[Hang()]], time_within=0.3),
    Case("websocket_idle", [upgrade("/idle"), Responses(1)], 101, answers=[[SWITCH, EchoTunnel()]], to_end=True, logs=1, time_within=0.3),
    Case("connect_forwarded", [request("CONNECT", "a.test:443", "a.test:443"), Responses(0), Contains(b"200"), b"hello", Contains(b"hello"), ShutdownWrite()], None, responses=0, answers=[[OPENED, EchoTunnel()]], to_end=True, logs=1),
    Case("connect_refused", [request("CONNECT", "a.test:443", "a.test:443")], 403, answers=[[answer("403 Forbidden", body=b"no")]]),
    Case("connect_not_configured", [request("CONNECT", "a.test:443", "a.test:443")], None, listener="plain", to_end=True),
    Case("websocket_no_route", [upgrade()], None, listener="nothing", to_end=True),
    Case("connect_no_route", [request("CONNECT", "a.test:443", "a.test:443")], None, listener="nothing", to_end=True),
    Case("connect_configured_no_route", [request("CONNECT", "a.test:443", "a.test:443")], None, listener="configured", to_end=True),
    Case("connect_path", [request("CONNECT", "/path", "a.test:443")], 400, to_end=True),
    Case("connect_terminated", [request("CONNECT", "a.test:443", "a.test:443"), Contains(b"\r\n\r\n"), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", Contains(b"ok"), ShutdownWrite()], None, responses=0, listener="terminate", to_end=True, logs=1),
    Case("connect_terminated_dead", [request("CONNECT", "a.test:443", "a.test:443")], 503, listener="terminate_dead"),
    Case("get_on_connect_route", get(), 404, listener="terminate"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tunnels(pair: Pair, case: Case) -> None:
    pair.check(case)
