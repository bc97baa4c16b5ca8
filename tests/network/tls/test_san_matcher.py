"""Names in certificates."""

from __future__ import annotations

import pytest
from cryptography import x509

from outrider.network.tls.san_matcher import dns_name_matches, is_oid, san_values, verify_san_list
from tests.network.tls.pki import authority


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        ("a.test", "a.test", True), ("A.Test", "a.tEST", True), ("x.a.test", "*.a.test", True),
        ("y.x.a.test", "*.a.test", False), ("a.test", "*.a.test", False), (".a.test", "*.a.test", True),
        ("foo1.a.test", "foo*.a.test", True), ("foo.a.test", "foo*.a.test", True), ("fo.a.test", "foo*.a.test", False),
        ("bar-foo.a.test", "*foo.a.test", True), ("a.b.test", "a.*.test", False),
        ("xn--x.a.test", "xn--*.a.test", False),
        ("x.a.test", "**.a.test", False), ("test", "*", False), ("", "*.a.test", False), ("*.a.test", "*.a.test", True),
    ],
)
def test_dns_names(name: str, pattern: str, matches: bool) -> None:
    assert dns_name_matches(name, pattern) is matches


def test_values_and_lists() -> None:
    oid = x509.ObjectIdentifier("1.2.3.4")
    issued = authority().issue(
        "x", "*.a.test", "spiffe://a/b", "me@a.test", "::1", "10.0.0.1", x509.OtherName(oid, b"\x0c\x02hi")
    )
    sans = san_values(issued.certificate)
    assert sans == [
        ("DNS", "*.a.test", ""), ("URI", "spiffe://a/b", ""), ("EMAIL", "me@a.test", ""), ("IP_ADDRESS", "::1", ""),
        ("IP_ADDRESS", "10.0.0.1", ""), ("OTHER_NAME", "hi", "1.2.3.4"),
    ]
    for good in ("b.a.test", "spiffe://a/b", "::1", "0:0::1", "10.0.0.1"):
        assert verify_san_list((good,), sans)
    for bad in ("a.test", "spiffe://a", "10.0.0.2", "hi"):
        assert not verify_san_list((bad,), sans)
    assert san_values(authority().certificate) == []


def test_oids() -> None:
    assert is_oid("1.3.6.1") and not is_oid("") and not is_oid("zz")
