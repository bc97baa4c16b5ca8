"""DNS messages and the table of the DNS filter."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from outrider.extensions.filters.udp import dns_message as dns
from outrider.extensions.filters.udp.dns_table import DnsTable, Domain, Service, Target


def question(name: bytes, kind: int = 1, query_class: int = 1) -> bytes:
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack("!2H", kind, query_class)


def test_a_question() -> None:
    query = dns.parse_query(question(b"\x03www\x04test\x00", dns.TYPE_AAAA))
    assert (query.id, query.name, query.kind, query.problem) == (7, "www.test", dns.TYPE_AAAA, "")


def test_problems() -> None:
    name = b"\x03www\x00"
    assert dns.parse_query(b"").problem == dns.UNDERFLOW
    assert dns.parse_query(question(name)[:-3]).problem == dns.MALFORMED
    assert dns.parse_query(question(b"\xc0\x0c")).problem == dns.MALFORMED
    assert dns.parse_query(question(b"\x3fa")).problem == dns.MALFORMED
    assert dns.parse_query(question((b"\x3f" + b"a" * 63) * 5 + b"\x00")).problem == dns.NAME_TOO_LONG
    assert dns.parse_query(question(name, query_class=3)).problem == dns.MALFORMED
    answered = bytearray(question(name))
    answered[7] = 1
    assert dns.parse_query(bytes(answered)).problem == dns.RECORDS


@given(st.binary(max_size=80))
def test_anything_is_answered(data: bytes) -> None:
    query = dns.parse_query(data)
    code = dns.FORMAT_ERROR if query.problem else dns.NO_ERROR
    response = dns.encode_response(query, code, [], [])
    assert 12 <= len(response) <= dns.MAX_RESPONSE
    assert response[2] & 0x80


def test_records_fit_into_a_datagram() -> None:
    query = dns.parse_query(question(b"\x03www\x04test\x00"))
    answers = [dns.address_record("www.test", f"10.0.0.{n}", 60) for n in range(100)]
    response = dns.encode_response(query, dns.NO_ERROR, answers, [])
    assert len(response) <= dns.MAX_RESPONSE
    count = struct.unpack_from("!H", response, 6)[0]
    assert 0 < count < 100
    assert response.endswith(bytes((10, 0, 0, count - 1)))


def test_srv_records() -> None:
    # RFC 2782: priority, weight, port, target.
    record = dns.srv_record("_x._tcp.test", 30, 1, 2, 443, "a.test")
    assert record.data == struct.pack("!3H", 1, 2, 443) + b"\x01a\x04test\x00"


def test_the_nearest_wildcard_counts() -> None:
    table = DnsTable(ignore_case=True)
    exact, near, far = Domain(1), Domain(2), Domain(3)
    table.add("a.b.test", exact)
    table.add("*.b.test", near)
    table.add("*.test", far)
    assert table.find("A.B.test") is exact
    assert table.find("x.y.b.test") is near
    assert table.find("z.test") is far
    assert table.find("test") is None


def test_services() -> None:
    table = DnsTable(ignore_case=False)
    domain = Domain(1)
    service = Service(5, [Target("h.test", "", 1, 2, 3)])
    domain.services["_http._tcp"] = service
    table.add("d.test", domain)
    assert table.find_service("_http._tcp.d.test") == (domain, service)
    assert table.find_service("_http._udp.d.test") == (domain, None)
    assert table.find_service("_http._tcp.other") == (None, None)
