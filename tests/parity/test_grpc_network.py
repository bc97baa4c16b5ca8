"""The network filters that ask a gRPC service about a connection, compared with Envoy."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

import grpc
from outrider.config import api
from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, listener, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import get
from tests.support.raw_client import Contains, ShutdownWrite

CHECK = "/envoy.service.auth.v3.Authorization/Check"
ASK = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
SERVICE = "grpc_service: {envoy_grpc: {cluster_name: service}, timeout: 2s}, transport_api_version: V3"
ECHO: Json = {"name": "echo", "typed_config": {"@type": TYPE + "extensions.filters.network.echo.v3.Echo"}}


def before_echo(name: str, type_name: str, text: str) -> Json:
    config = {"@type": TYPE + f"extensions.filters.network.{type_name}", "stat_prefix": name, **parse(f"{{{text}}}")}
    made = listener(name, {"name": "asks", "typed_config": config})
    made["filter_chains"][0]["filters"].append(ECHO)
    return made


def before_tcp(name: str, type_name: str, text: str) -> Json:
    config = {"@type": TYPE + f"extensions.filters.network.{type_name}", "stat_prefix": name, **parse(f"{{{text}}}")}
    proxy = {"@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": "up", "access_log": [file_log(LOG)]}
    made = listener(name, {"name": "asks", "typed_config": config})
    made["filter_chains"][0]["filters"].append({"name": "tcp", "typed_config": proxy})
    return made


def authz(name: str, text: str = "") -> Json:
    return before_echo(name, "ext_authz.v3.ExtAuthz", SERVICE + text)


def limited(name: str, text: str = "") -> Json:
    return before_echo(name, "ratelimit.v3.RateLimit", f"domain: dom, timeout: 2s, rate_limit_service: {{{SERVICE}}}, descriptors: [{{entries: [{{key: a, value: b}}, {{key: ip, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}]}}]{text}")


LOG = (
    "%ACCESS_LOG_TYPE% flags=%RESPONSE_FLAGS% details=%RESPONSE_CODE_DETAILS% term=%CONNECTION_TERMINATION_DETAILS%"
    " out=%BYTES_SENT% host=%UPSTREAM_HOST% md=%DYNAMIC_METADATA(envoy.filters.network.ext_authz)% closed=%DOWNSTREAM_LOCAL_CLOSE_REASON%\n"
)
GROUP = SideConfig(
    bootstrap(
        [
            authz("authz"),
            authz("lenient", ", failure_mode_allow: true, include_tls_session: true, bootstrap_metadata_labels_key: labels"),
            authz("shadow", ", shadow_mode: true"),
            authz("disabled", ", filter_enabled_metadata: {filter: x, path: [{key: y}], value: {string_match: {exact: z}}}"),
            limited("limited"),
            before_tcp("tcp_authz", "ext_authz.v3.ExtAuthz", SERVICE),
            before_tcp("tcp_limited", "ratelimit.v3.RateLimit", f"domain: dom, timeout: 2s, rate_limit_service: {{{SERVICE}}}, descriptors: [{{entries: [{{key: a, value: b}}]}}]"),
            limited("deny", ", failure_mode_deny: true"),
        ],
        [cluster("up"), cluster("service", "<<grpc:service>>", protocol="{explicit_http_config: {http2_protocol_options: {}}}")],
        "{node: {id: n, cluster: c, metadata: {labels: {app: web}}}}",
    )
)


def said(kind: str, text: str) -> list[bytes]:
    message = api.new(kind)
    json_format.ParseDict(parse(text), message, descriptor_pool=api.pool())
    return [message.SerializeToString()]


def case(name: str, listener: str, answers: Any, passes: bool) -> Case:
    steps: list[Any] = [b"hello", Contains(b"hello"), b" again", Contains(b"hello again"), ShutdownWrite()]
    if not passes:
        # Bytes that come as the connection is closed turn its end into a reset, or not.
        steps = [] if "limit" in name else [b"hello"]
    return Case(
        name, steps, None, listener=listener, grpc={CHECK: answers, ASK: answers}, responses=0, to_end=True, logs=int(name.startswith("tcp")), settle=0.1,
        replace=[(r"port_value: [3-6]\d{4}\n", "port\n"), (r"^grpc-timeout: \d+.$", "grpc-timeout"), (r"^x-envoy-expected-rq-timeout-ms: \d+$", "expected")],
        # Envoy's tcp_proxy counts connections that its filter never gets.
        ignore_stats=[r"^cluster\.service\..*_time", r"^tcp\."],
    )  # fmt: skip


def check(text: str) -> list[bytes]:
    return said("envoy.service.auth.v3.CheckResponse", text)


def limit(text: str) -> list[bytes]:
    return said("envoy.service.ratelimit.v3.RateLimitResponse", text)


BROKEN = (grpc.StatusCode.INTERNAL, "x")
CASES = [
    case("allowed", "authz", check("{dynamic_metadata: {a: b}}"), True),
    case("denied", "authz", check("{status: {code: 7}}"), False),
    case("error", "authz", BROKEN, False),
    case("error_lenient", "lenient", BROKEN, True),
    case("shadow", "shadow", check("{status: {code: 7}}"), True),
    case("disabled", "disabled", check("{status: {code: 7}}"), True),
    case("tcp_denied", "tcp_authz", check("{status: {code: 7}, dynamic_metadata: {a: b}}"), False),
    case("tcp_error", "tcp_authz", BROKEN, False),
    case("tcp_limit", "tcp_limited", limit("{overall_code: OVER_LIMIT}"), False),
    Case("tcp_allowed", [get("/"), Contains(b"ok"), ShutdownWrite()], None, listener="tcp_authz", grpc={CHECK: check("{dynamic_metadata: {a: b}}")}, responses=0, to_end=True, logs=1, replace=[(r"port_value: [3-6]\d{4}\n", "port\n"), (r"^grpc-timeout: \d+.$", "grpc-timeout"), (r"ext_authz_duration\":\d+", "duration")], ignore_stats=[r"^cluster\.service\..*_time"]),
    case("limit_ok", "limited", limit("{overall_code: OK}"), True),
    case("limit_over", "limited", limit("{overall_code: OVER_LIMIT}"), False),
    case("limit_error", "limited", BROKEN, True),
    case("limit_error_deny", "deny", BROKEN, False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_network_filter(pair: Pair, case: Case) -> None:
    pair.check(case)
