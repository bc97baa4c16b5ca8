"""envoy.filters.http.basic_auth and api_key_auth."""

from __future__ import annotations

import base64

import pytest

from outrider.config.errors import ConfigError
from outrider.extensions.filters.http import api_key_auth, basic_auth
from outrider.extensions.filters.http.api_key_auth import remove_cookie, without_parameter
from tests.extensions.filters.http.scene import Scene, request_headers

# The password is "pass".
USERS = "# people\nuser:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=\r\n\n"


def basic_scene(**rest: object) -> Scene:
    return Scene("basic", basic_auth.TYPE, {"users": {"inline_string": USERS}, **rest})


def credentials(text: str) -> tuple[str, str]:
    return "authorization", "Basic " + base64.b64encode(text.encode()).decode()


def test_a_known_user_passes() -> None:
    made = basic_scene(forward_username_header="X-User", emit_dynamic_metadata=True)
    headers = request_headers(credentials("user:pass"))
    stream = made.stream(headers)
    assert stream.passed
    assert headers.get(b"x-user") == b"user"
    assert stream.stream_info.get_metadata(basic_auth.NAMESPACE) == {"username": "user"}
    assert made.counter("basic_auth.allowed") == 1


@pytest.mark.parametrize(
    ("value", "details"),
    [
        (None, "no_credential_for_basic_auth"),
        ("Bearer x", "invalid_scheme_for_basic_auth"),
        ("Basic !", "invalid_format_for_basic_auth"),
        ("Basic dXNlcjp4", "invalid_credential_for_basic_auth"),
    ],
)
def test_others_are_asked_for_credentials(value: str | None, details: str) -> None:
    made = basic_scene()
    stream = made.stream(request_headers(*([] if value is None else [("authorization", value)]), path="/p"))
    assert not stream.passed
    assert stream.details == details
    assert stream.reply is not None
    assert stream.reply.get(b"www-authenticate") == b'Basic realm="http://test/p"'
    assert made.counter("basic_auth.denied") == 1


def test_missing_credentials_may_pass() -> None:
    assert basic_scene(allow_missing=True).stream(request_headers()).passed


def test_users_of_a_route() -> None:
    made = basic_scene()
    route = made.route_config(
        basic_auth.ROUTE_TYPE, {"users": {"inline_string": "other:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ="}, "realm": "there"}
    )
    assert made.stream(request_headers(credentials("other:pass")), route).passed
    denied = made.stream(request_headers(credentials("user:pass")), route)
    assert denied.reply is not None
    assert denied.reply.get(b"www-authenticate") == b'Basic realm="there"'


@pytest.mark.parametrize(
    ("users", "text"),
    [
        ("user", "username:password is expected"),
        (":{SHA}x", "empty user name or password"),
        ("a:{MD5}x", "please use {SHA}"),
        ("a:{SHA}x", "invalid SHA hash length"),
        (USERS + USERS, "duplicate users"),
    ],
)
def test_bad_lists(users: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Scene("basic", basic_auth.TYPE, {"users": {"inline_string": users}})


def key_scene(**rest: object) -> Scene:
    config: dict[str, object] = {
        "credentials": [{"key": "k1", "client": "one"}, {"key": "k2", "client": "two"}],
        "key_sources": [{"header": "authorization"}, {"query": "key"}, {"cookie": "key"}],
        **rest,
    }
    return Scene("keys", api_key_auth.TYPE, config)


@pytest.mark.parametrize(
    ("header", "path", "client"),
    [
        (("authorization", "Bearer k1"), "/", "one"),
        (("authorization", "k2"), "/", "two"),
        (("x", "y"), "/?a=b&key=k1", "one"),
        (("cookie", "a=b; key=k2"), "/", "two"),
    ],
)
def test_where_keys_are_found(header: tuple[str, str], path: str, client: str) -> None:
    made = key_scene(forwarding={"header": "x-client", "hide_credentials": True})
    headers = request_headers(header, path=path)
    assert made.stream(headers).passed
    assert headers.get(b"x-client") == client.encode()
    assert b"k1" not in repr(headers).encode()
    assert b"k2" not in repr(headers).encode()


@pytest.mark.parametrize(("path", "details"), [("/", "missing_api_key"), ("/?key=x", "unknown_api_key")])
def test_who_is_refused(path: str, details: str) -> None:
    made = key_scene()
    stream = made.stream(request_headers(path=path))
    assert stream.details == details
    assert stream.out == ["reply 401 Client authentication failed."]
    assert made.counter("api_key_auth.unauthorized") == 1


def test_clients_of_a_route() -> None:
    made = key_scene()
    route = made.route_config(api_key_auth.ROUTE_TYPE, {"allowed_clients": ["two"]})
    assert made.stream(request_headers(path="/?key=k2"), route).passed
    refused = made.stream(request_headers(path="/?key=k1"), route)
    assert refused.out == ["reply 403 Client is forbidden."]
    assert made.counter("api_key_auth.forbidden") == 1


def test_duplicate_keys() -> None:
    with pytest.raises(ConfigError, match="Duplicate API key"):
        key_scene(credentials=[{"key": "a", "client": "b"}, {"key": "a", "client": "c"}])


def test_hiding() -> None:
    assert without_parameter(b"/a?k=1&b=2&k=3", b"k") == b"/a?b=2"
    assert without_parameter(b"/a?k=1", b"k") == b"/a"
    headers = request_headers(("cookie", "k=1; a=2"), ("cookie", "k=3"))
    remove_cookie(headers, b"k")
    assert headers.get_all(b"cookie") == [b"a=2"]
