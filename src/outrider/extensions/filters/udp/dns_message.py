"""DNS messages (RFC 1035) as far as the DNS filter needs them: one question in, address and SRV records out."""

from __future__ import annotations

import ipaddress
import struct
from typing import Final

TYPE_A: Final = 1
TYPE_AAAA: Final = 28
TYPE_SRV: Final = 33
CLASS_IN: Final = 1

NO_ERROR: Final = 0
FORMAT_ERROR: Final = 1
NAME_ERROR: Final = 3
NOT_IMPLEMENTED: Final = 4

# Without EDNS no response is longer.
MAX_RESPONSE: Final = 512
_HEADER: Final = struct.Struct("!6H")
_RECORD: Final = struct.Struct("!HHIH")

# Why a message is no query that can be answered.
UNDERFLOW: Final = "underflow"
RECORDS: Final = "records"
MALFORMED: Final = "malformed"
# Not exactly one.
QUESTIONS: Final = "questions"
NAME_TOO_LONG: Final = "name too long"


class Query:
    """What came; `problem` says what is wrong with it, empty when nothing is."""

    __slots__ = ("id", "flags", "name", "kind", "problem")

    def __init__(self, message_id: int, flags: int) -> None:
        self.id = message_id
        self.flags = flags
        self.name: str = ""
        self.kind: int = 0
        self.problem: str = ""


class Record:
    """A resource record of class IN."""

    __slots__ = ("name", "kind", "ttl", "data")

    def __init__(self, name: str, kind: int, ttl: int, data: bytes) -> None:
        self.name = name
        self.kind = kind
        self.ttl = ttl
        self.data = data

    def encode(self) -> bytes:
        return encode_name(self.name) + _RECORD.pack(self.kind, CLASS_IN, self.ttl, len(self.data)) + self.data


def encode_name(name: str) -> bytes:
    labels = [label.encode("latin-1") for label in name.split(".") if label]
    return b"".join([bytes((len(label),)) + label for label in labels]) + b"\0"


def address_record(name: str, address: str, ttl: int) -> Record:
    """A or AAAA."""
    parsed = ipaddress.ip_address(address)
    return Record(name, TYPE_A if parsed.version == 4 else TYPE_AAAA, ttl, parsed.packed)


def srv_record(name: str, ttl: int, priority: int, weight: int, port: int, target: str) -> Record:
    """RFC 2782."""
    return Record(name, TYPE_SRV, ttl, struct.pack("!3H", priority, weight, port) + encode_name(target))


def parse_query(data: bytes) -> Query:
    """Never raises: a message that makes no sense is a Query with a problem."""
    if len(data) < _HEADER.size:
        query = Query(int.from_bytes(data[:2].ljust(2, b"\0"), "big"), 0)
        query.problem = UNDERFLOW
        return query
    message_id, flags, questions, answers, authorities, _ = _HEADER.unpack_from(data)
    query = Query(message_id, flags)
    if flags & 0x8000 or answers or authorities:
        query.problem = RECORDS
        return query
    if questions != 1:
        query.problem = QUESTIONS
        return query
    position = _HEADER.size
    labels: list[str] = []
    size = 0
    while True:
        if position >= len(data):
            query.problem = MALFORMED
            return query
        length = data[position]
        position += 1
        if length == 0:
            break
        # A question has nothing to point back to.
        if length > 63 or position + length > len(data):
            query.problem = MALFORMED
            return query
        size += length + 1
        if size > 255:
            query.problem = NAME_TOO_LONG
            return query
        labels.append(data[position : position + length].decode("latin-1"))
        position += length
    if position + 4 > len(data) or not labels:
        query.problem = MALFORMED
        return query
    kind, query_class = struct.unpack_from("!2H", data, position)
    if query_class != CLASS_IN:
        query.problem = MALFORMED
        return query
    query.name = ".".join(labels)
    query.kind = kind
    return query


def encode_response(query: Query, code: int, answers: list[Record], additional: list[Record]) -> bytes:
    """A response with as many records as fit."""
    # QR and RA; opcode and RD as they came.
    flags = 0x8080 | (query.flags & 0x7900) | code
    if query.problem:
        return _HEADER.pack(query.id, flags, 0, 0, 0, 0)
    body = encode_name(query.name) + struct.pack("!2H", query.kind, CLASS_IN)
    count = extra = 0
    for record in answers:
        encoded = record.encode()
        if _HEADER.size + len(body) + len(encoded) > MAX_RESPONSE:
            break
        body += encoded
        count += 1
    for record in additional:
        encoded = record.encode()
        if _HEADER.size + len(body) + len(encoded) > MAX_RESPONSE:
            break
        body += encoded
        extra += 1
    return _HEADER.pack(query.id, flags, 1, count, 0, extra) + body
