"""envoy.filters.http.ext_authz: the service's requests and answers, and what happens without it."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.data.header_map import ResponseHeaderMap
from outrider.data.response_flag import UNAUTHORIZED_EXTERNAL_SERVICE
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.http.ext_authz import filter as authz
from outrider.extensions.filters.http.ext_authz import mutations
from outrider.extensions.filters.http.ext_authz.answer import DENIED, ERROR, OK
from outrider.extensions.filters.http.ext_authz.check_request import utf8
from outrider.extensions.filters.http.ext_authz.grpc_service import read_answer
from outrider.extensions.filters.http.ext_authz.service import AuthzService
from outrider.extensions.filters.http.ext_authz.shadow import ShadowDecision
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
    service = factory.config.http
    assert service is not None
    return service


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
    assert service.read(ResponseHeaderMap(status=500), b"").verdict == ERROR
    allowed = service.read(ResponseHeaderMap({b"x-up": b"1", b"x-other": b"2"}, status=200), b"")
    assert allowed.verdict == OK
    assert allowed.to_set == [(b"x-up", b"1")]
    denied = service.read(ResponseHeaderMap({b"x-why": b"1", b"transfer-encoding": b"chunked"}, status=401), b"no")
    assert (denied.verdict, denied.status, denied.body) == (DENIED, 401, "no")
    assert denied.client_set == [(b"x-why", b"1")]


def test_removal_spares_the_host() -> None:
    answer = service_of(scene()).read(
        ResponseHeaderMap({b"x-envoy-auth-headers-to-remove": b"A, host, :path,b"}, status=200), b""
    )
    headers = request_headers(("a", "1"), ("b", "2"), ("c", "3"))
    before = headers.authority, headers.path
    assert mutations.edit_request(answer, headers, None)
    assert (headers.authority, headers.path) == before and headers.names() == [b"c"]


def test_a_service_is_needed() -> None:
    with pytest.raises(ConfigError, match="value is required"):
        Scene("authz", authz.TYPE, {}, FakeDispatcher())


def response(**fields: Any) -> bytes:
    message = api.new("envoy.service.auth.v3.CheckResponse")
    json_format.ParseDict(fields, message, descriptor_pool=api.pool())
    return message.SerializeToString()


def option(key: str, value: str, **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


def test_grpc_answers() -> None:
    ok = read_answer(
        response(
            ok_response={
                "headers": [option("A", "1"), option("b", "2", append=True)],
                "headers_to_remove": ["C"],
                "response_headers_to_add": [
                    option("d", "3"), option("e", "4", append=False), option("f", "5", append_action="ADD_IF_ABSENT"),
                    option("g", "6", append_action="OVERWRITE_IF_EXISTS"),
                ],
                "query_parameters_to_set": [{"key": "q", "value": "x y"}],
                "query_parameters_to_remove": ["r"],
            },
            dynamic_metadata={"k": "v"},
        )
    )  # fmt: skip
    assert (ok.verdict, ok.to_set, ok.to_append, ok.to_remove) == (OK, [(b"a", b"1")], [(b"b", b"2")], [b"c"])
    assert (ok.client_add, ok.client_set) == ([(b"d", b"3")], [(b"e", b"4")])
    assert (ok.client_add_if_absent, ok.client_overwrite) == ([(b"f", b"5")], [(b"g", b"6")])
    assert ok.metadata == {"k": "v"}
    headers = request_headers(("b", "old"), ("c", "x"), path="/p?r=1&z=%20&q=0")
    assert mutations.edit_request(ok, headers, None)
    assert headers.get(b"a") == b"1" and headers.get(b"b") == b"old,2" and not headers.contains(b"c")
    # Sorted by name, as in Envoy; what cannot stand in a request line is encoded.
    assert headers.path == b"/p?q=x%20y&z=%20"
    assert read_answer(response(status={"code": 7})).status == 403
    denied = read_answer(response(status={"code": 7}, denied_response={"status": {"code": 401}, "body": "no"}))
    assert (denied.verdict, denied.status, denied.body) == (DENIED, 401, "no")
    broken = read_answer(response(status={"code": 13}, error_response={"status": {"code": 502}}))
    assert (broken.verdict, broken.status) == (ERROR, 502)
    assert read_answer(b"\xff").verdict == ERROR


def test_text_that_is_not_utf8() -> None:
    assert utf8("caf\xe9".encode("latin-1")) == "caf!"
    assert utf8(b"a\xff\xfeb\xc3\xa9") == "a!!b\xe9"


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [(b"x-a", b"ok \xc3\xa9", True), (b"x a", b"", False), (b"", b"", False), (b"x", b"a\nb", False), (b":path", b"/", True), (b"x", b"a\0", False)],
)
def test_valid_fields(name: bytes, value: bytes, valid: bool) -> None:
    assert mutations.all_valid([(name, value)]) == valid


def test_unknown_cluster_is_an_error_of_the_service() -> None:
    made = Scene("authz", authz.TYPE, {"grpc_service": {"envoy_grpc": {"cluster_name": "none"}}}, FakeDispatcher())
    assert made.stream(request_headers()).out == ["reply 403 "]
    assert made.counter("ext_authz.error") == 1


def test_shadow_mode_lets_pass_and_remembers() -> None:
    config = {"grpc_service": {"envoy_grpc": {"cluster_name": "none"}}, "shadow_mode": True}
    made = Scene("authz", authz.TYPE, config, FakeDispatcher())
    stream = made.stream(request_headers())
    assert stream.passed
    state = stream.stream_info.filter_state
    assert state is not None
    (decision,) = state.values()
    assert isinstance(decision, ShadowDecision)
    assert decision.serialize() == '{"check_result":"ERROR","status_code":403}'
    assert made.counter("ext_authz.shadow_error") == 1
