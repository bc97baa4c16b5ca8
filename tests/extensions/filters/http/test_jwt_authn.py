"""envoy.filters.http.jwt_authn: what the parity tests do not show."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.event.timer import Timer, TimerOwner
from outrider.extensions.filters.http.jwt_authn import filter as jwt
from outrider.extensions.filters.http.jwt_authn.token import (
    EXPIRED,
    KID_ALG,
    NOT_YET_VALID,
    OK,
    VERIFICATION,
    Token,
    TokenError,
    check_signature,
    decode_base64url,
    parse_keys,
)
from tests.extensions.filters.http.scene import Scene, request_headers
from tests.support.dispatcher import idle_dispatcher
from tests.support.tokens import JWKS, OTHER_JWKS, token


class FakeDispatcher:
    def timer(self, owner: TimerOwner, kind: int) -> Timer:
        return idle_dispatcher().timer(owner, kind)

    def monotonic_ns(self) -> int:
        return 0


ME = {"iss": "me", "sub": "you", "scope": "a b"}
ALGORITHMS = [family + bits for family in ("RS", "PS", "ES", "HS") for bits in ("256", "384", "512")] + ["EdDSA"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures(algorithm: str) -> None:
    keys = parse_keys(JWKS.encode())
    assert check_signature(Token(token(ME, algorithm)), keys) == OK
    # The last character of a section may hold bits that do not count; the first one counts whole.
    head, _, signature = token(ME, algorithm).rpartition(".")
    broken = head + "." + ("A" if signature[0] != "A" else "B") + signature[1:]
    assert check_signature(Token(broken), keys) == VERIFICATION


def test_a_public_key_is_no_secret() -> None:
    keys = [key for key in parse_keys(JWKS.encode()) if key.kind == "RSA"]
    assert check_signature(Token(token(ME, "HS256", {"kid": "rsa"})), keys) == VERIFICATION


def test_keys_that_do_not_fit() -> None:
    keys = parse_keys(OTHER_JWKS.encode())
    assert check_signature(Token(token(ME)), keys) == VERIFICATION
    assert check_signature(Token(token(ME, "ES256")), keys) == KID_ALG


def test_time() -> None:
    made = Token(token({"nbf": 100, "exp": 200}))
    assert made.check_time(39, 60) == NOT_YET_VALID
    assert made.check_time(40, 60) == OK
    assert made.check_time(260, 60) == OK
    assert made.check_time(261, 60) == EXPIRED


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "..", "e30.e30.", "[].e30.e30"])
def test_malformed(text: str) -> None:
    with pytest.raises(TokenError):
        Token(text)


def test_base64url_has_no_padding() -> None:
    assert decode_base64url("YWI") == b"ab"
    for text in ("YWI=", "YW+", "Y", "é"):
        with pytest.raises(ValueError):
            decode_base64url(text)


def scene(provider: dict[str, Any], **rest: Any) -> Scene:
    config = {
        "providers": {"p": {"local_jwks": {"inline_string": JWKS}, **provider}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
        **rest,
    }
    return Scene("jwt", jwt.TYPE, config)


def bearer(text: str) -> tuple[str, str]:
    return "authorization", "Bearer " + text


def test_the_token_is_taken_away_and_claims_are_told() -> None:
    made = scene(
        {
            "payload_in_metadata": "p",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
            "claim_to_headers": [{"header_name": "X-Sub", "claim_name": "sub"}],
            "clear_route_cache": True,
        }
    )
    headers = request_headers(bearer(token(ME)), ("x-sub", "forged"))
    stream = made.stream(headers)
    assert stream.passed
    assert headers.get(b"authorization") is None
    assert headers.get_all(b"x-sub") == [b"you"]
    assert stream.stream_info.get_metadata(jwt.NAMESPACE) == {"p": {**ME, "scope": ["a", "b"]}}
    assert stream.route_cleared
    assert made.counter("jwt_authn.allowed") == 1


def test_refused() -> None:
    made = scene({})
    stream = made.stream(request_headers(path="/x"))
    assert stream.out == ["reply 401 Jwt is missing"]
    assert stream.details == "jwt_authn_access_denied{Jwt_is_missing}"
    assert stream.reply is not None
    assert stream.reply.get(b"www-authenticate") == b'Bearer realm="http://test/x"'
    assert made.counter("jwt_authn.denied") == 1


def test_cache() -> None:
    made = scene({"jwt_cache_config": {"jwt_cache_size": 1}})
    text = token(ME)
    for _ in range(2):
        assert made.stream(request_headers(bearer(text))).passed
    made.stream(request_headers(bearer(token({"iss": "other"}))))
    made.stream(request_headers(bearer(text)))
    assert made.counter("jwt_authn.jwt_cache_hit") == 1
    assert made.counter("jwt_authn.jwt_cache_miss") == 3


def test_routes() -> None:
    made = scene({}, requirement_map={"none": {"allow_missing": {}}})
    assert made.stream(request_headers(), made.route_config(jwt.ROUTE_TYPE, {"disabled": True})).passed
    assert made.stream(request_headers(), made.route_config(jwt.ROUTE_TYPE, {"requirement_name": "none"})).passed
    wrong = made.stream(request_headers(), made.route_config(jwt.ROUTE_TYPE, {"requirement_name": "wrong"}))
    assert wrong.out == [
        "reply 403 Failed JWT authentication: Wrong requirement_name: wrong. It should be one of [none]"
    ]


def test_remote_keys_without_their_cluster() -> None:
    remote = {"http_uri": {"uri": "http://k/", "cluster": "none", "timeout": "1s"}}
    config = {
        "providers": {"p": {"remote_jwks": remote}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    }
    made = Scene("jwt", jwt.TYPE, config, FakeDispatcher())
    stream = made.stream(request_headers(bearer(token(ME))))
    assert stream.out == ["reply 401 Jwks remote fetch is failed"]
    assert made.counter("jwt_authn.jwks_fetch_failed") == 1


def test_unknown_provider() -> None:
    with pytest.raises(ConfigError, match=r"Required provider \['x'\] is not configured"):
        scene({}, rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "x"}}])


def test_invalid_keys() -> None:
    with pytest.raises(ConfigError, match="invalid local jwks"):
        scene({"local_jwks": {"inline_string": "{}"}})
