"""A DNS server that answers from a table (RFC 1035), over UDP and TCP on one port of 127.0.0.1."""

from __future__ import annotations

import socket
import struct
import threading

from tests.support.ports import free_port

TYPE_A = 1
TYPE_AAAA = 28
_NXDOMAIN = 3
_SERVFAIL = 2


class Zone:
    """Answers for one name. `addresses` may be of both families; `failing` = SERVFAIL; `silent` = no answer at all."""

    __slots__ = ("addresses", "ttl", "failing", "silent")

    def __init__(
        self, addresses: list[str] | None = None, ttl: int = 60, failing: bool = False, silent: bool = False
    ) -> None:
        self.addresses = addresses or []
        self.ttl = ttl
        self.failing = failing
        self.silent = silent


class DnsServer:
    """Names are lower case without the last dot. The table may be changed while it runs; unknown names are NXDOMAIN."""

    def __init__(self, table: dict[str, Zone]) -> None:
        self.table = table
        # (name, type) in the order of arrival.
        self.queries: list[tuple[str, int]] = []
        self._udp, self._tcp = _bind()
        self.port: int = self._udp.getsockname()[1]
        self._threads = [
            threading.Thread(target=self._serve_udp, daemon=True), threading.Thread(target=self._serve_tcp, daemon=True)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        # A datagram socket blocked in recvfrom is woken by shutdown only; it says ENOTCONN but works on Linux.
        for end in (self._udp, self._tcp):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            try:
                query, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            if not query:
                return
            response = self._answer(query)
            if response:
                self._udp.sendto(response, peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                try:
                    data = connection.recv(4096)
                    response = self._answer(data[2:])
                    connection.sendall(struct.pack("!H", len(response)) + response)
                except OSError:
                    continue

    def _answer(self, query: bytes) -> bytes:
        identity, _, _ = struct.unpack_from("!HHH", query)
        labels: list[str] = []
        at = 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii").lower())
            at += query[at] + 1
        question_type = struct.unpack_from("!H", query, at + 1)[0]
        question = query[12 : at + 5]
        name = ".".join(labels)
        self.queries.append((name, question_type))
        zone = self.table.get(name)
        if zone is None:
            return struct.pack("!HHHHHH", identity, 0x8180 | _NXDOMAIN, 1, 0, 0, 0) + question
        if zone.silent:
            return b""
        if zone.failing:
            return struct.pack("!HHHHHH", identity, 0x8180 | _SERVFAIL, 1, 0, 0, 0) + question
        records: list[bytes] = []
        for address in zone.addresses:
            family, record_type = (socket.AF_INET6, TYPE_AAAA) if ":" in address else (socket.AF_INET, TYPE_A)
            if record_type == question_type:
                packed = socket.inet_pton(family, address)
                # 0xC00C points at the name of the question.
                records.append(struct.pack("!HHHIH", 0xC00C, record_type, 1, zone.ttl, len(packed)) + packed)
        return struct.pack("!HHHHHH", identity, 0x8180, 1, len(records), 0, 0) + question + b"".join(records)


def _bind() -> tuple[socket.socket, socket.socket]:
    while True:
        port = free_port()
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            tcp.listen(16)
        except OSError:
            udp.close()
            tcp.close()
            continue
        return udp, tcp
