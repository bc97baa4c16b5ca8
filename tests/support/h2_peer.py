"""Small HTTP/1.1 and HTTP/2 peers that stream: an upstream with a behaviour for each path, and clients of both kinds."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import h2.config
import h2.connection
import h2.events

Fields = list[tuple[str, str]]


class Heard:
    """What the upstream knows of one request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.body = b""
        self.trailers: Fields = []
        # "", "end", or "reset".
        self.state = ""


class StreamingUpstream:
    """Speaks HTTP/2 or HTTP/1.1, as it is told or as ALPN chose. Paths:

    /echo gives each piece of the body back at once, and the trailers; /early answers before the body has come; /reset
    breaks off in the middle; /hang says nothing.
    """

    def __init__(self, kind: str, context: ssl.SSLContext | None = None) -> None:
        self.kind = kind
        self.heard: list[Heard] = []
        self.changed = threading.Condition()
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in [self._listener, *self._connections]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def wait_for(self, path: str, state: str, timeout: float = 5.0) -> Heard:
        """The request of that path in that state. Raises AssertionError."""

        def there() -> bool:
            return any(each.path == path and each.state == state for each in self.heard)

        with self.changed:
            assert self.changed.wait_for(there, timeout), [(each.path, each.state) for each in self.heard]
            return next(each for each in self.heard if each.path == path and each.state == state)

    def note(self, heard: Heard, state: str) -> None:
        with self.changed:
            if not heard.state:
                heard.state = state
            self.changed.notify_all()

    def hear(self, path: str) -> Heard:
        heard = Heard(path)
        with self.changed:
            self.heard.append(heard)
        return heard

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        kind = self.kind
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                kind = "h2" if connection.selected_alpn_protocol() == "h2" else "h1"
            self._connections.append(connection)
            if kind == "h2":
                _H2Server(self, connection).run()
            else:
                _h1_server(self, connection)
        except OSError:
            pass
        finally:
            connection.close()


class _H2Server:
    def __init__(self, upstream: StreamingUpstream, connection: socket.socket) -> None:
        self.upstream = upstream
        self.connection = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.heard: dict[int, Heard] = {}
        self.waiting: dict[int, bytes] = {}
        self.ending: dict[int, Fields | None] = {}

    def run(self) -> None:
        self.h2.initiate_connection()
        self.h2.update_settings({8: 1})
        self._flush()
        while data := self.connection.recv(65536):
            for event in self.h2.receive_data(data):
                self._on(event)
            self._pump()
            self._flush()
        for heard in self.heard.values():
            self.upstream.note(heard, "reset")

    def _flush(self) -> None:
        self.connection.sendall(self.h2.data_to_send())

    def _on(self, event: Any) -> None:
        stream = getattr(event, "stream_id", 0)
        if isinstance(event, h2.events.RequestReceived):
            fields: dict[str, str] = {str(name): str(value) for name, value in event.headers}
            heard = self.heard[stream] = self.upstream.hear(fields.get(":path", ":connect"))
            if heard.path == "/early":
                self.h2.send_headers(stream, [(":status", "200"), ("x-upstream", "h2")])
                self.h2.send_data(stream, b"early", end_stream=True)
            elif heard.path == "/reset":
                self.h2.send_headers(stream, [(":status", "200")])
                self.h2.send_data(stream, b"some")
                self.h2.reset_stream(stream, 2)
            elif heard.path != "/hang":
                self.h2.send_headers(stream, [(":status", "200"), ("x-upstream", "h2")])
        elif isinstance(event, h2.events.DataReceived):
            heard = self.heard[stream]
            heard.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            if heard.path not in ("/early", "/reset", "/hang"):
                self.waiting[stream] = self.waiting.get(stream, b"") + event.data
        elif isinstance(event, h2.events.TrailersReceived):
            self.heard[stream].trailers = [(str(name), str(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            heard = self.heard[stream]
            self.upstream.note(heard, "end")
            if heard.path not in ("/early", "/reset", "/hang"):
                self.ending[stream] = heard.trailers or None
        elif isinstance(event, h2.events.StreamReset):
            self.upstream.note(self.heard[stream], "reset")
            self.waiting.pop(stream, None)
            self.ending.pop(stream, None)

    def _pump(self) -> None:
        """Send what the windows allow."""
        for stream in list(self.waiting):
            while self.waiting[stream]:
                size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(self.waiting[stream]))
                if size <= 0:
                    break
                self.h2.send_data(stream, self.waiting[stream][:size])
                self.waiting[stream] = self.waiting[stream][size:]
            if not self.waiting[stream]:
                del self.waiting[stream]
        for stream in list(self.ending):
            if stream not in self.waiting:
                trailers = self.ending.pop(stream)
                if trailers:
                    self.h2.send_headers(stream, trailers, end_stream=True)
                else:
                    self.h2.end_stream(stream)


class Reader:
    """Reads lines and counts from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.held = b""

    def more(self) -> None:
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.held += data

    def line(self) -> str:
        while b"\r\n" not in self.held:
            self.more()
        line, _, self.held = self.held.partition(b"\r\n")
        return line.decode("latin-1")

    def take(self, count: int) -> bytes:
        while len(self.held) < count:
            self.more()
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def fields(self) -> Fields:
        found: Fields = []
        while line := self.line():
            name, _, value = line.partition(":")
            found.append((name.lower(), value.strip()))
        return found

    def chunk(self) -> bytes:
        """The next chunk; empty at the end, before the trailers."""
        size = int(self.line(), 16)
        if size == 0:
            return b""
        data = self.take(size)
        self.take(2)
        return data


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Fields) -> bytes:
    return b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers).encode() + b"\r\n"


def _h1_server(upstream: StreamingUpstream, connection: socket.socket) -> None:
    reader = Reader(connection)
    while True:
        heard: Heard | None = None
        try:
            path = reader.line().split(" ")[1]
            fields = dict(reader.fields())
            heard = upstream.hear(path)
            if path == "/early":
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-upstream: h1\r\ncontent-length: 5\r\n\r\nearly")
            elif path == "/reset":
                connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"some"))
                return
            elif fields.get("upgrade") == "websocket":
                connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
                while True:
                    data, reader.held = reader.held, b""
                    heard.body += data
                    connection.sendall(data)
                    reader.more()
            elif path != "/hang":
                connection.sendall(b"HTTP/1.1 200 OK\r\nx-upstream: h1\r\ntransfer-encoding: chunked\r\n\r\n")
            echoes = path not in ("/early", "/reset", "/hang")
            if "content-length" in fields:
                heard.body = reader.take(int(fields["content-length"]))
                if echoes and heard.body:
                    connection.sendall(chunk(heard.body))
            elif "transfer-encoding" in fields:
                while data := reader.chunk():
                    heard.body += data
                    if echoes:
                        connection.sendall(chunk(data))
                heard.trailers = reader.fields()
            upstream.note(heard, "end")
            if echoes:
                connection.sendall(last_chunk(heard.trailers))
            elif path == "/hang":
                reader.more()
        except (EOFError, OSError):
            if heard is not None:
                heard.state = ""
                upstream.note(heard, "reset")
            return


class Broken(Exception):
    """The response ended before its time."""


class H1Client:
    """One exchange on one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.reader = Reader(connection)
        self.trailers: Fields = []
        self.fields: dict[str, str] = {}

    def begin(self, path: str, fields: Fields, method: str = "POST") -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        head = f"{method} {path} HTTP/1.1\r\nhost: test\r\nte: trailers\r\ntransfer-encoding: chunked\r\n{lines}\r\n"
        self.connection.sendall(head.encode())

    def send(self, data: bytes) -> None:
        self.connection.sendall(chunk(data))

    def end(self, trailers: Fields | None = None) -> None:
        self.connection.sendall(last_chunk(trailers or []))

    def status(self) -> int:
        """Of the response; its fields are there then."""
        try:
            code = int(self.reader.line().split(" ")[1])
            self.fields = dict(self.reader.fields())
        except (EOFError, OSError):
            raise Broken from None
        return code

    def read(self, count: int) -> bytes:
        """So much of the body, or less at its end. Raises Broken."""
        got = b""
        try:
            if "content-length" in self.fields:
                return self.reader.take(min(count, int(self.fields["content-length"])))
            while len(got) < count:
                data = self.reader.chunk()
                if not data:
                    self.trailers = self.reader.fields()
                    break
                got += data
        except (EOFError, OSError):
            raise Broken from None
        return got

    def cancel(self) -> None:
        self.connection.close()


class H2Client:
    """One stream on one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.stream = 1
        self.trailers: Fields = []
        self.fields: dict[str, str] = {}
        self._body = b""
        self._ended = False
        self._broken = False
        self.connect_allowed = False
        self._flush()

    def _flush(self) -> None:
        self.connection.sendall(self.h2.data_to_send())

    def begin(self, path: str, fields: Fields, method: str = "POST") -> None:
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)]
        self.begin_with([*pseudo, ("te", "trailers"), *fields])

    def begin_with(self, fields: Fields) -> None:
        self.h2.send_headers(self.stream, fields)
        self._flush()

    def send(self, data: bytes) -> None:
        while data:
            size = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, len(data))
            if size <= 0:
                self._receive()
                continue
            self.h2.send_data(self.stream, data[:size])
            data = data[size:]
            self._flush()

    def end(self, trailers: Fields | None = None) -> None:
        if trailers:
            self.h2.send_headers(self.stream, trailers, end_stream=True)
        else:
            self.h2.end_stream(self.stream)
        self._flush()

    def _receive(self) -> None:
        if self._broken:
            raise Broken
        try:
            data = self.connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            raise Broken
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.fields = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, h2.events.RemoteSettingsChanged):
                self.connect_allowed = 8 in event.changed_settings and event.changed_settings[8].new_value == 1
            elif isinstance(event, h2.events.DataReceived):
                self._body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers = [(str(name), str(value)) for name, value in event.headers]
            elif isinstance(event, h2.events.StreamEnded):
                self._ended = True
            elif isinstance(event, h2.events.StreamReset):
                self._broken = not self._ended
        self._flush()

    def wait_settings(self) -> None:
        self._receive()

    def status(self) -> int:
        while not self.fields:
            self._receive()
        return int(self.fields[":status"])

    def read(self, count: int) -> bytes:
        while len(self._body) < count and not self._ended:
            self._receive()
        got, self._body = self._body[:count], self._body[count:]
        return got

    def cancel(self) -> None:
        self.h2.reset_stream(self.stream, 8)
        self._flush()
