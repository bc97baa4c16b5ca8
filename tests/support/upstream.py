"""A scripted upstream: it plays the answers a test prepared and records the raw requests it gets.

Answers are lists of steps. The first request since `play` gets the first answer, and so on; the last answer is repeated.
Without answers every request is answered 200 `ok`.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Sequence

from tests.support.http1_message import answer, body_end, head_end
from tests.support.ports import bind_free


class Early:
    """First step: answer once the head is there, without reading the body (it is read and dropped afterwards)."""


class CloseNow:
    """Step: close the connection (FIN)."""


class ResetNow:
    """Step: close the connection with RST."""


class Hang:
    """Step: answer nothing more; keep the connection until the peer closes it."""


class EchoTunnel:
    """Step: from now on send back whatever comes, until the peer closes."""


class EchoRequest:
    """Step: answer 200 with the raw request as body."""


class ReadBody:
    """Step after `Early`: read the body now."""


class Flood:
    """Step: send this many zero bytes."""

    def __init__(self, count: int) -> None:
        self.count = count


Step = bytes | float | Early | CloseNow | ResetNow | Hang | EchoTunnel | EchoRequest | ReadBody | Flood
Answer = Sequence[Step]

OK: Answer = (answer(),)


class Record:
    """One request as received. `fresh`: it was the first on its connection."""

    __slots__ = ("label", "raw", "fresh", "connection", "server_name", "client_subject", "complete")

    def __init__(self, label: str, connection: int, fresh: bool) -> None:
        self.label = label
        self.raw: bytes = b""
        self.fresh = fresh
        self.connection = connection
        self.server_name: str = ""
        self.client_subject: str = ""
        # The whole body was read.
        self.complete: bool = False


class ScriptedUpstream:
    """Listens on 127.0.0.1 from construction until `close`; a thread a connection."""

    def __init__(self, label: str = "up", tls: ssl.SSLContext | None = None) -> None:
        self.label = label
        self._tls = tls
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._records: list[Record] = []
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepted = 0
        self._closed = False
        self._listener = bind_free()
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"upstream-{label}", daemon=True)
        self._acceptor.start()

    def play(self, answers: Sequence[Answer]) -> None:
        """Forget what was recorded and answer the next requests so."""
        with self._lock:
            self._answers = list(answers)
            self._records = []

    def records(self) -> list[Record]:
        with self._lock:
            return list(self._records)

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return self._accepted

    def drop_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _shutdown(connection)

    def close(self) -> None:
        self._closed = True
        _shutdown(self._listener)
        self._listener.close()
        self.drop_connections()
        self._acceptor.join(5)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted += 1
            thread = threading.Thread(target=self._serve, args=(connection, self._accepted), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        try:
            if self._tls is not None:
                raw.settimeout(10)
                connection = self._tls.wrap_socket(raw, server_side=True)
                connection.settimeout(None)
            with self._lock:
                self._connections.add(connection)
            _Conversation(self, connection, number).run()
        except OSError:
            # The proxy went away, or shook hands wrongly: it is judged by what it says and counts.
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()
            raw.close()

    def next_answer(self, record: Record) -> Answer:
        with self._lock:
            self._records.append(record)
            if not self._answers:
                return OK
            if len(self._answers) > 1:
                return self._answers.pop(0)
            return self._answers[0]


class _Conversation:
    """Requests and answers of one connection."""

    __slots__ = ("upstream", "connection", "number", "buffer")

    def __init__(self, upstream: ScriptedUpstream, connection: socket.socket, number: int) -> None:
        self.upstream = upstream
        self.connection = connection
        self.number = number
        self.buffer = b""

    def run(self) -> None:
        fresh = True
        while True:
            while head_end(self.buffer, 0) < 0:
                if not self._read():
                    return
            record = Record(self.upstream.label, self.number, fresh)
            if isinstance(self.connection, ssl.SSLSocket):
                record.server_name = getattr(self.connection, "server_name_seen", "")
                record.client_subject = _subject(self.connection)
            fresh = False
            if not self._exchange(record):
                return

    def _exchange(self, record: Record) -> bool:
        """False = the connection is at its end."""
        end = head_end(self.buffer, 0)
        record.raw = self.buffer[:end]
        script = self.upstream.next_answer(record)
        early = len(script) > 0 and isinstance(script[0], Early)
        if not early and not self._read_body(record):
            return False
        for step in script:
            if not self._step(step, record):
                return False
        return self._read_body(record) if early and not record.complete else True

    def _read_body(self, record: Record) -> bool:
        head = record.raw[: head_end(record.raw, 0)]
        while True:
            end = body_end(self.buffer, head, len(head))
            if end >= 0:
                break
            record.raw = self.buffer
            if not self._read():
                return False
        record.raw = self.buffer[:end]
        record.complete = True
        self.buffer = self.buffer[end:]
        return True

    def _step(self, step: Step, record: Record) -> bool:
        connection = self.connection
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, float):
            time.sleep(step)
        elif isinstance(step, EchoRequest):
            connection.sendall(answer("200 OK", ("content-type", "text/plain"), body=record.raw))
        elif isinstance(step, Flood):
            left = step.count
            block = bytes(65536)
            while left > 0:
                connection.sendall(block[: min(left, len(block))])
                left -= len(block)
        elif isinstance(step, ReadBody):
            return self._read_body(record)
        elif isinstance(step, EchoTunnel):
            while True:
                if self.buffer:
                    record.raw += self.buffer
                    connection.sendall(self.buffer)
                    self.buffer = b""
                if not self._read():
                    return False
        elif isinstance(step, Hang):
            while self._read():
                pass
            return False
        elif isinstance(step, CloseNow):
            return False
        elif isinstance(step, ResetNow):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return True

    def _read(self) -> bool:
        data = self.connection.recv(262144)
        self.buffer += data
        return bool(data)


def server_context(certificate: str, key: str, client_ca: str = "", alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A server's TLS context which remembers the SNI of each connection; files in PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.sni_callback = _remember_server_name
    return context


def _remember_server_name(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
    connection.server_name_seen = name or ""  # type: ignore[union-attr]  # read back by the conversation


def _subject(connection: ssl.SSLSocket) -> str:
    certificate = connection.getpeercert()
    if not certificate:
        return ""
    return ",".join(f"{name}={value}" for pairs in certificate["subject"] for name, value in pairs)


def _shutdown(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
