"""envoy.filters.http.ext_authz: the service's requests and answers, and what happens without it."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.data.header_map import ResponseHeaderMap
from outrider.data.response_flag import UNAUTHORIZED_EXTERNAL_SERVICE
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.http.ext_authz import filter as authz
from outrider.extensions.filters.http.ext_authz.service import AuthzService
from tests.extensions.filters.http.scene import Scene, request_headers
from tests.support.dispatcher import idle_dispatcher

URI = {"uri": "auth", "cluster": "none", "timeout": "1s"}


class FakeDispatcher:
    def timer(self, owner: TimerOwner, kind: int) -> Timer:
        return idle_dispatcher().timer(owner, kind)

    def monotonic_ns(self) -> int:
        return 0


def scene(service: dict[str, Any] | None = None, **rest: Any) -> Scene:
    config = {"http_service": {"server_uri": URI, **(service or {})}, **rest}
    return Scene("authz", authz.TYPE, config, FakeDispatcher())


def service_of(made: Scene) -> AuthzService:
    factory = made.factory
    assert isinstance(factory, authz.AuthzFilterFactory)
    return factory.config.service


def test_without_the_service_requests_are_refused() -> None:
    made = scene()
    stream = made.stream(request_headers())
    assert stream.out == ["reply 403 "]
    assert stream.details == "ext_authz_error"
    assert stream.stream_info.response_flags & UNAUTHORIZED_EXTERNAL_SERVICE
    assert made.counter("ext_authz.error") == 1


def test_failure_may_be_allowed() -> None:
    made = scene(failure_mode_allow=True, failure_mode_allow_header_add=True)
    headers = request_headers()
    assert made.stream(headers).passed
    assert headers.get(b"x-envoy-auth-failure-mode-allowed") == b"true"
    assert made.counter("ext_authz.failure_mode_allowed") == 1


def test_status_on_error() -> None:
    assert scene(status_on_error={"code": "ServiceUnavailable"}).stream(request_headers()).out == ["reply 503 "]


def test_disabled_on_a_route() -> None:
    made = scene()
    assert made.stream(request_headers(), made.route_config(authz.ROUTE_TYPE, {"disabled": True})).passed


def test_body_is_buffered_first() -> None:
    made = scene(with_request_body={"max_request_bytes": 10}, failure_mode_allow=True)
    stream = made.stream(request_headers(method="POST"), end=False)
    assert not stream.passed
    stream.run_decode_data(0, b"ab", False)
    assert made.counter("ext_authz.error") == 0
    stream.remote_complete = True
    stream.run_decode_data(0, b"c", True)
    assert made.counter("ext_authz.error") == 1
    assert stream.passed


def test_what_the_service_is_asked() -> None:
    made = scene(
        {"path_prefix": "/check", "authorization_request": {"headers_to_add": [{"key": "x-add", "value": "1"}]}},
        allowed_headers={"patterns": [{"prefix": "x-"}]},
        disallowed_headers={"patterns": [{"exact": "x-no"}]},
    )
    headers = request_headers(("x-a", "1"), ("x-a", "2"), ("x-no", "1"), ("y", "1"), ("authorization", "s"), path="/p")
    asked = service_of(made).request(headers, b"abc", True, True)
    assert asked.path == b"/check/p"
    assert dict(asked.items()) == {
        b"content-length": b"3",
        b"x-a": b"1,2",
        b"authorization": b"s",
        b"x-envoy-auth-partial-body": b"true",
        b"x-add": b"1",
    }


def test_answers() -> None:
    service = service_of(
        scene({"authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-up"}]}}})
    )
    assert service.read(ResponseHeaderMap(status=500), b"") is None
    allowed = service.read(ResponseHeaderMap({b"x-up": b"1", b"x-other": b"2"}, status=200), b"")
    assert allowed is not None
    assert allowed.allowed
    assert allowed.to_set == [(b"x-up", b"1")]
    denied = service.read(ResponseHeaderMap({b"x-why": b"1", b"transfer-encoding": b"chunked"}, status=401), b"no")
    assert denied is not None
    assert (denied.allowed, denied.status, denied.body) == (False, 401, "no")
    assert denied.to_client == [(b"x-why", b"1")]


def test_removal_spares_the_host() -> None:
    answer = service_of(scene()).read(
        ResponseHeaderMap({b"x-envoy-auth-headers-to-remove": b"A, host, :path,b"}, status=200), b""
    )
    assert answer is not None
    assert answer.to_remove == [b"a", b"b"]


def test_grpc_is_refused() -> None:
    with pytest.raises(ConfigError, match="http_service is required"):
        Scene("authz", authz.TYPE, {"grpc_service": {"envoy_grpc": {"cluster_name": "c"}}}, FakeDispatcher())
