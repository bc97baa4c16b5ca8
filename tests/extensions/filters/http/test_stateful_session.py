"""envoy.filters.http.stateful_session: the host asked for reaches the load balancer, the host that served the client."""

from __future__ import annotations

import base64

import pytest

from outrider.config.runtime import Runtime
from outrider.data.address import ip_address
from outrider.data.header_map import ResponseHeaderMap
from outrider.data.stream_info import UpstreamInfo
from outrider.extensions.all_extensions import load_extensions
from outrider.extensions.http.stateful_session.cookie import CookieSession, pack, unpack
from outrider.router.filter import RouterFilter
from outrider.router.load_balancing import RouterContext
from outrider.router.router_config import RouterConfig
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager
from tests.extensions.filters.http.scene import Scene, request_headers

load_extensions()
TYPE = "envoy.extensions.filters.http.stateful_session.v3.StatefulSession"
STATE = {
    "name": "envoy.http.stateful_session.header",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState",
        "name": "x-session",
    },
}
ADDRESS = base64.b64encode(b"10.0.0.1:80").decode()


@pytest.mark.parametrize(("strict", "wanted"), [(False, "10.0.0.1:80"), (True, "!10.0.0.1:80")])
def test_router_is_told(strict: bool, wanted: str) -> None:
    scene = Scene("s", TYPE, {"session_state": STATE, "strict": strict})
    stream = scene.stream(request_headers(("x-session", ADDRESS)))
    context = RouterContext()
    assert context.override_host() is None
    store = Store()
    router = RouterFilter(RouterConfig(ClusterManager(), Runtime(), store, store, ""))
    router.manager = stream
    context.router = router
    assert context.override_host() == wanted


@pytest.mark.parametrize(("port", "told"), [(80, None), (81, base64.b64encode(b"10.0.0.1:81"))])
def test_client_is_told_of_a_new_host_only(port: int, told: bytes | None) -> None:
    stream = Scene("s", TYPE, {"session_state": STATE}).stream(request_headers(("x-session", ADDRESS)))
    stream.stream_info.upstream = UpstreamInfo()
    stream.stream_info.upstream.host_address = ip_address("10.0.0.1", port)
    headers = ResponseHeaderMap(status=200)
    stream.encode_headers_from(None, headers, True)
    assert headers.get(b"x-session") == told


def test_switched_off_for_a_route() -> None:
    scene = Scene("s", TYPE, {"session_state": STATE})
    stream = scene.stream(
        request_headers(("x-session", ADDRESS)), scene.route_config(TYPE + "PerRoute", {"disabled": True})
    )
    assert stream.stream_info.filter_state is None


@pytest.mark.parametrize("expires", [0, 5, 1_800_000_000])
def test_cookie_message(expires: int) -> None:
    assert unpack(pack("10.0.0.1:80", expires)) == ("10.0.0.1:80", expires)


@pytest.mark.parametrize("data", [b"", b"\x0a", b"\x0a\x05ab", b"\x12\x01a", b"\x0a\x01a\x12", b"\x0a\x01a" + b"\x10" * 20])
def test_cookie_rubbish(data: bytes) -> None:
    with pytest.raises(ValueError, match="no session cookie"):
        unpack(data)


def test_expired_cookie_counts_for_nothing() -> None:
    session = CookieSession(b"s", b"", 60, b"")
    cookie = base64.b64encode(pack("10.0.0.1:80", 1000)).decode()
    assert session.address(request_headers(("cookie", f"s={cookie}"))) == ""
    assert CookieSession(b"s", b"", 0, b"").address(request_headers(("cookie", f"s={cookie}"))) == "10.0.0.1:80"
