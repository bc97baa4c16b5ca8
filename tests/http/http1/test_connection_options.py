"""Nominated fields and ignored upgrades. What is expected here was observed with Envoy 1.40."""

from __future__ import annotations

import pytest

from outrider.data.header_map import RequestHeaderMap
from outrider.http.http1.connection_options import drop_unwanted_upgrade, is_upgrade, remove_nominated
from outrider.matching.string_matcher import make_string_matcher


def headers_of(**fields: bytes) -> RequestHeaderMap:
    single = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHeaderMap(single, method=b"GET", path=b"/", authority=b"h")


@pytest.mark.parametrize(
    ("connection", "left"),
    [
        (b"keep-alive", {b"connection", b"x-a", b"te", b"cookie"}),
        (b"x-a", {b"te", b"cookie"}),
        (b"X-A, close", {b"connection", b"te", b"cookie"}),
        (b"x-a , ,  cookie", {b"te"}),
        (b"connection, x-a", {b"te", b"cookie"}),
        (b"te", {b"connection", b"te", b"x-a", b"cookie"}),
        (b",,,,,,,,,,,,,", {b"connection", b"te", b"x-a", b"cookie"}),
        (b"unknown", {b"x-a", b"te", b"cookie"}),
    ],
)
def test_nominated(connection: bytes, left: set[bytes]) -> None:
    headers = headers_of(connection=connection, x_a=b"1", te=b"gzip, trailers", cookie=b"a")
    assert remove_nominated(headers, connection)
    assert set(headers.single) == left
    if b"te" in connection:
        assert headers.get(b"te") == b"trailers"


@pytest.mark.parametrize("te", [b"gzip", b"trailers;q=0.5", b"trailersx"])
def test_te_without_trailers_goes(te: bytes) -> None:
    headers = headers_of(connection=b"te", te=te)
    assert remove_nominated(headers, b"te")
    assert headers.single == {}


@pytest.mark.parametrize(
    "connection",
    [b"x-forwarded-for", b"X-Forwarded-Host", b"a, x-forwarded-proto", b":authority", b",".join([b"x"] * 10)],
)
def test_refused(connection: bytes) -> None:
    assert not remove_nominated(headers_of(connection=connection), connection)


def test_a_large_te_is_refused() -> None:
    assert remove_nominated(headers_of(te=b"x" * 255), b"te")
    assert not remove_nominated(headers_of(te=b"x" * 256), b"te")


def test_host_can_be_nominated() -> None:
    headers = headers_of(connection=b"host")
    assert remove_nominated(headers, b"host")
    assert headers.authority == b""


def test_h2c_is_ignored() -> None:
    headers = headers_of(connection=b"keep-alive, Upgrade, HTTP2-Settings", upgrade=b"H2C", http2_settings=b"AA")
    assert not drop_unwanted_upgrade(headers, [])
    assert headers.single == {b"connection": b"keep-alive"}
    assert drop_unwanted_upgrade(headers_of(connection=b"upgrade", upgrade=b"h2c, foo"), [])


def test_ignored_upgrades() -> None:
    tls = [make_string_matcher("prefix", "TLS/")]
    headers = headers_of(connection=b"Upgrade", upgrade=b"TLS/1.0")
    assert not drop_unwanted_upgrade(headers, tls)
    assert headers.single == {}
    headers = headers_of(connection=b"keep-alive, Upgrade", upgrade=b"TLS/1.0, foo")
    assert drop_unwanted_upgrade(headers, tls)
    assert headers.single == {b"connection": b"keep-alive, Upgrade", b"upgrade": b"foo"}
    assert drop_unwanted_upgrade(headers_of(connection=b"upgrade", upgrade=b"tls/1.0"), tls)


def test_is_upgrade() -> None:
    assert is_upgrade(headers_of(connection=b"a, Upgrade", upgrade=b"x"))
    assert not is_upgrade(headers_of(connection=b"upgraded", upgrade=b"x"))
    assert not is_upgrade(headers_of(upgrade=b"x"))
    assert not is_upgrade(headers_of(connection=b"upgrade"))
