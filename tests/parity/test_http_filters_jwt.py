
"""jwt_authn: tokens, keys, requirements, compared with Envoy."""

from __future__ import annotations

import json

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import LOG_FORMAT, TYPE, bootstrap, cluster, file_log, http, parse
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, request
from tests.support.tokens import JWKS, OTHER_JWKS, token

LOG = [file_log(LOG_FORMAT.rstrip("\n") + " md=%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%\n")]
LOCAL = json.dumps({"inline_string": JWKS})

PROVIDERS = f"""
  main: {{issuer: me, audiences: [aud1, "https://aud2/"], local_jwks: {LOCAL}, forward: true, forward_payload_header: x-payload, payload_in_metadata: payload, header_in_metadata: head, claim_to_headers: [{{header_name: x-sub, claim_name: sub}}, {{header_name: x-deep, claim_name: deep.er}}, {{header_name: x-list, claim_name: list}}, {{header_name: x-num, claim_name: num}}, {{header_name: x-flag, claim_name: flag}}]}}
  any_issuer: {{local_jwks: {LOCAL}, from_headers: [{{name: x-jwt, value_prefix: "jwt="}}, {{name: x-raw}}], from_params: [jwt], from_cookies: [jwt], pad_forward_payload_header: true, forward_payload_header: x-padded, require_expiration: true, max_lifetime: 86400s, subjects: {{prefix: sub}}, clock_skew_seconds: 1}}
  remote: {{issuer: far, remote_jwks: {{http_uri: {{uri: "http://keys.test/jwks?a=b", cluster: keys, timeout: 2s}}, cache_duration: 300s}}}}
  broken: {{issuer: broken, remote_jwks: {{http_uri: {{uri: "http://keys.test/", cluster: dead, timeout: 2s}}}}}}
"""
RULES = """
rules:
- {match: {prefix: /main}, requires: {provider_name: main}}
- {match: {prefix: /aud}, requires: {provider_and_audiences: {provider_name: main, audiences: [other]}}}
- {match: {prefix: /places}, requires: {provider_name: any_issuer}}
- {match: {prefix: /any}, requires: {requires_any: {requirements: [{provider_name: main}, {provider_name: any_issuer}]}}}
- {match: {prefix: /all}, requires: {requires_all: {requirements: [{provider_name: main}, {provider_name: any_issuer}]}}}
- {match: {prefix: /missing}, requires: {requires_any: {requirements: [{provider_name: main}, {allow_missing: {}}]}}}
- {match: {prefix: /failed}, requires: {requires_any: {requirements: [{provider_name: main}, {allow_missing_or_failed: {}}]}}}
- {match: {prefix: /remote}, requires: {provider_name: remote}}
- {match: {prefix: /broken}, requires: {provider_name: broken}}
- {match: {prefix: /named}, requirement_name: named}
- {match: {prefix: /free}}
bypass_cors_preflight: true
requirement_map: {named: {provider_name: main}}
"""
ROUTE = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
HOSTS = f"""
- name: all
  domains: ["*"]
  routes:
  - {{match: {{prefix: /main/off}}, route: {{cluster: up}}, typed_per_filter_config: {{envoy.filters.http.jwt_authn: {{"@type": {ROUTE}, disabled: true}}}}}}
  - {{match: {{prefix: /free/named}}, route: {{cluster: up}}, typed_per_filter_config: {{envoy.filters.http.jwt_authn: {{"@type": {ROUTE}, requirement_name: named}}}}}}
  - {{match: {{prefix: /free/wrong}}, route: {{cluster: up}}, typed_per_filter_config: {{envoy.filters.http.jwt_authn: {{"@type": {ROUTE}, requirement_name: wrong}}}}}}
  - {{match: {{prefix: /}}, route: {{cluster: up}}}}
"""


def jwt(name: str, text: str, hosts: str = HOSTS) -> dict[str, object]:
    config = {"@type": TYPE + "extensions.filters.http.jwt_authn.v3.JwtAuthentication", **parse(text)}
    return http(name, hosts, filters=[{"name": "envoy.filters.http.jwt_authn", "typed_config": config}], log=LOG)


PLAIN_HOSTS = ""
GROUP = SideConfig(
    bootstrap(
        [
            jwt("jwt", f"providers:\n{PROVIDERS}{RULES}"),
            jwt("strip", f"{{stat_prefix: mine, strip_failure_response: true, providers: {{main: {{issuer: me, local_jwks: {LOCAL}}}}}, rules: [{{match: {{prefix: /}}, requires: {{provider_name: main}}}}]}}", PLAIN_HOSTS),
            jwt("lax", f"{{providers: {{main: {{issuer: me, local_jwks: {LOCAL}}}}}, rules: [{{match: {{prefix: /failed}}, requires: {{allow_missing_or_failed: {{}}}}}}, {{match: {{prefix: /}}, requires: {{allow_missing: {{}}}}}}]}}", PLAIN_HOSTS),
        ],
        [cluster("up"), cluster("keys"), cluster("dead", "<<refused:a>>")],
    )
)
ME = {"iss": "me", "aud": "aud1", "sub": "subject", "exp": 4000000000, "deep": {"er": "x"}, "list": [1, "a"], "num": 5, "flag": True}


def bearer(text: str) -> tuple[str, str]:
    return "authorization", f"Bearer {text}"


def ask(name: str, path: str, status: int | None, *headers: tuple[str, str], listener: str = "jwt", keys: str = JWKS) -> Case:
    return Case(name, get(path, "test", *headers), status, listener=listener, answers_by={"keys": [[answer("200 OK", body=keys.encode())]]})


SHORT = {"iss": "x", "sub": "subject"}
CASES = [
    *[ask(f"algorithm_{name}", "/main?x=y", 200, bearer(token(ME, name))) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "EdDSA")],
    ask("missing", "/main", 401),
    ask("missing_long", "/main/" + "a" * 300, 401),
    ask("parameter", "/main?a=b&access_token=" + token(ME), 200),
    ask("other_scheme", "/main", 401, ("authorization", "Basic abc")),
    ask("bad_format", "/main", 401, bearer("abc")),
    ask("bad_header", "/main", 401, bearer("a!.b.c")),
    ask("bad_header_json", "/main", 401, bearer("YWJj.YWJj.YWJj")),
    ask("bad_payload", "/main", 401, bearer(token(ME).split(".")[0] + ".YWJj.YWJj")),
    ask("bad_signature", "/main", 401, bearer(token(ME)[:-4] + "AAAA")),
    ask("no_alg", "/main", 401, bearer(token(ME, header={"alg": None}))),
    ask("unknown_alg", "/main", 401, bearer(token(ME, header={"alg": "none"}))),
    ask("unknown_kid", "/main", 401, bearer(token(ME, header={"kid": "zzz"}))),
    ask("kid_not_text", "/main", 401, bearer(token(ME, header={"kid": 5}))),
    ask("iss_not_text", "/main", 401, bearer(token({**ME, "iss": 5}))),
    ask("exp_not_number", "/main", 401, bearer(token({**ME, "exp": "5"}))),
    ask("exp_negative", "/main", 401, bearer(token({**ME, "exp": -5}))),
    ask("aud_not_text", "/main", 401, bearer(token({**ME, "aud": 5}))),
    ask("wrong_issuer", "/main", 401, bearer(token({**ME, "iss": "you"}))),
    ask("expired", "/main", 401, bearer(token({**ME, "exp": 1000}))),
    ask("not_yet", "/main", 401, bearer(token({**ME, "nbf": 4000000000}))),
    ask("wrong_audience", "/main", 403, bearer(token({**ME, "aud": "x"}))),
    ask("no_audience", "/main", 403, bearer(token({"iss": "me"}))),
    ask("sanitized_audience", "/main", 200, bearer(token({**ME, "aud": ["x", "http://aud2"]}))),
    ask("own_audiences", "/aud", 200, bearer(token({**ME, "aud": "other"}))),
    ask("own_audiences_wrong", "/aud", 403, bearer(token(ME))),
    ask("spoofed_headers", "/main", 200, bearer(token(ME)), ("x-payload", "evil"), ("x-sub", "evil")),
    ask("place_header", "/places", 401, ("x-jwt", "jwt=" + token(ME))),
    ask("place_raw_no_expiry", "/places", 401, ("x-raw", token(SHORT))),
    ask("place_parameter", "/places?jwt=" + token(ME) + "&b=c", 401),
    ask("place_cookie", "/places", 401, ("cookie", "a=b; jwt=" + token(ME))),
    ask("place_subject", "/places", 401, ("x-raw", token({**ME, "sub": "nobody"}))),
    ask("place_odd_token", "/places", 401, ("x-jwt", "jwt=a!.b.c")),
    ask("place_in_text", "/places", 401, ("x-jwt", '{"jwt=": "a.b.c"}')),
    ask("any_first", "/any", 200, bearer(token(ME))),
    ask("any_none", "/any", 401),
    ask("any_wrong", "/any", 401, bearer(token({**ME, "exp": 1000}))),
    ask("all_one", "/all", 401, bearer(token(ME))),
    ask("missing_allowed", "/missing", 200),
    ask("missing_allowed_wrong", "/missing", 401, bearer(token({**ME, "exp": 1000}))),
    ask("missing_allowed_right", "/missing", 200, bearer(token(ME))),
    ask("failed_allowed", "/failed", 200, bearer("abc")),
    ask("named", "/named", 401),
    ask("free", "/free", 200),
    ask("no_rule", "/none", 200),
    ask("route_off", "/main/off", 200),
    ask("route_named", "/free/named", 401),
    ask("route_wrong", "/free/wrong", 403),
    ask("remote_bad_keys", "/remote", 401, bearer(token({"iss": "far"})), keys="{}"),
    ask("remote", "/remote", 200, bearer(token({"iss": "far"}))),
    ask("remote_cached", "/remote", 200, bearer(token({"iss": "far"})), keys=OTHER_JWKS),
    ask("remote_unreachable", "/broken", 401, bearer(token({"iss": "broken"}))),
    Case("preflight", request("OPTIONS", "/main", "test", [("origin", "http://a"), ("access-control-request-method", "PUT")]), listener="jwt"),
    ask("strip", "/", 401, listener="strip"),
    ask("strip_passes", "/", 200, bearer(token(ME)), listener="strip"),
    ask("lax_missing", "/", 200, listener="lax"),
    ask("lax_wrong", "/", 401, bearer("abc"), listener="lax"),
    ask("lax_right", "/", 200, bearer(token(ME)), listener="lax"),
    ask("lax_issuer", "/", 401, bearer(token({**ME, "iss": "you"})), listener="lax"),
    ask("lax_failed", "/failed", 200, bearer("abc"), listener="lax"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_jwt(pair: Pair, case: Case) -> None:
    pair.check(case)
