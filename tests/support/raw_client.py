"""A client of raw bytes: sends what it is told, in the pieces and at the times it is told, and keeps all it receives."""

from __future__ import annotations

import socket
import ssl
import struct
import time

from tests.support.http1_message import count_responses


class Responses:
    """Step: wait until this many final responses have come, in all, on this connection."""

    def __init__(self, count: int) -> None:
        self.count = count


class Contains:
    """Step: wait until the received bytes contain these."""

    def __init__(self, wanted: bytes) -> None:
        self.wanted = wanted


class ShutdownWrite:
    """Step: send FIN, go on reading."""


class Abort:
    """Step: close with RST."""


class Close:
    """Step: close."""


class Mark:
    """Step: remember the elapsed time (see `Transcript.marks`)."""


Step = bytes | float | Responses | Contains | ShutdownWrite | Abort | Close | Mark


class Transcript:
    """What came back. `end` is open, eof, reset or closed (by us); `elapsed` counts seconds from the connect."""

    __slots__ = ("received", "end", "elapsed", "first_byte", "marks", "timed_out")

    def __init__(self) -> None:
        self.received: bytes = b""
        self.end: str = "open"
        self.elapsed: float = 0.0
        self.first_byte: float = 0.0
        self.marks: list[float] = []
        self.timed_out: bool = False


class RawClient:
    """One connection. `address` is (ip, port) or the path of a Unix socket."""

    def __init__(
        self, address: tuple[str, int] | str, *, to_head: bool = False, timeout: float = 10.0,
        context: ssl.SSLContext | None = None, server_name: str = "", receive_buffer: int = 0,
    ) -> None:
        self.transcript = Transcript()
        self._to_head = to_head
        self._timeout = timeout
        self._start = time.monotonic()
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
            if context is not None:
                self.socket = context.wrap_socket(self.socket, server_hostname=server_name or None)
        except OSError:
            self.socket.close()
            raise

    def run(self, steps: list[Step]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                self.send(step)
            elif isinstance(step, float):
                time.sleep(step)
            elif isinstance(step, Responses):
                self.read_responses(step.count)
            elif isinstance(step, Contains):
                self.read_until(step.wanted)
            elif isinstance(step, ShutdownWrite):
                self._shutdown_write()
            elif isinstance(step, Mark):
                self.transcript.marks.append(time.monotonic() - self._start)
            else:
                self._close(isinstance(step, Abort))

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            # The peer has closed: what it said before is still to be read.
            pass

    def read_responses(self, count: int) -> bool:
        transcript = self.transcript
        deadline = time.monotonic() + self._timeout
        while count_responses(transcript.received, self._to_head) < count:
            if not self._receive(deadline):
                return False
        return True

    def read_until(self, wanted: bytes) -> bool:
        deadline = time.monotonic() + self._timeout
        while wanted not in self.transcript.received:
            if not self._receive(deadline):
                return False
        return True

    def read_to_end(self, timeout: float) -> None:
        """Read until the peer closes, or for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        timed_out = self.transcript.timed_out
        while self._receive(deadline):
            pass
        self.transcript.timed_out = timed_out

    def close(self) -> None:
        transcript = self.transcript
        transcript.elapsed = time.monotonic() - self._start
        self.socket.close()

    def _receive(self, deadline: float) -> bool:
        transcript = self.transcript
        if transcript.end != "open":
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            transcript.timed_out = True
            return False
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(262144)
        except TimeoutError:
            transcript.timed_out = True
            return False
        except (OSError, ssl.SSLError):
            transcript.end = "reset"
            return False
        if not data:
            transcript.end = "eof"
            return False
        if not transcript.received:
            transcript.first_byte = time.monotonic() - self._start
        transcript.received += data
        return True

    def _shutdown_write(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _close(self, abort: bool) -> None:
        if abort:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transcript.end = "closed"
        self.socket.close()


def fetch(address: tuple[str, int] | str, data: bytes, timeout: float = 10.0) -> bytes:
    """Send one request and give back its response, interim responses included."""
    client = RawClient(address, to_head=data.startswith(b"HEAD "), timeout=timeout)
    try:
        client.send(data)
        client.read_responses(1)
    finally:
        client.close()
    return client.transcript.received
