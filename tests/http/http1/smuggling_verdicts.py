"""What Envoy's recorded answers say about its codec, and what ours does with the same bytes, in comparable form."""

from __future__ import annotations

from typing import Any

import h11
from google.protobuf import json_format

from outrider.config import api
from outrider.config.view import View
from outrider.data.stream_info import HTTP10
from outrider.http.http1.settings import Http1Settings, headers_count, underscore_action
from tests.http.http1.smuggling_cases import LISTENERS, UPSTREAM_CLUSTERS, Case
from tests.http.http1.support import Client, Server

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HTTP1 = "envoy.config.core.v3.Http1ProtocolOptions"
# Details of refusals that come from Envoy's codec; all others are the connection manager's or the router's.
_CODEC_DETAILS = ("http1.", "http.invalid_authority", "low_version")


def view_of(type_name: str, content: dict[str, Any]) -> View:
    """A view of a message given as JSON."""
    message = api.new(type_name)
    json_format.ParseDict(content, message, descriptor_pool=api.pool())
    return View(message)


def server_for(case: Case, auto_answer: bool = True) -> Server:
    hcm = view_of(_HCM, LISTENERS[case.listener])
    common = hcm.message("common_http_protocol_options")
    return Server(
        Http1Settings.from_view(hcm.message("http_protocol_options")),
        auto_answer,
        max_headers_kb=hcm.integer("max_request_headers_kb", 60),
        max_headers_count=headers_count(common),
        underscores=underscore_action(common),
    )


def client_for(case: Case) -> Client:
    return Client(Http1Settings.from_view(view_of(_HTTP1, UPSTREAM_CLUSTERS[case.cluster])))


class Verdict:
    """Of one request on a connection."""

    def __init__(self, refusal: tuple[int, str] | None, accepted: tuple[str, ...] | None, complete: bool) -> None:
        # Status and details of a refusal by the codec.
        self.refusal = refusal
        # Method, path, authority, body, trailers of what was let through; None when the recording does not tell.
        self.accepted = accepted
        self.complete = complete

    def __repr__(self) -> str:
        return f"{self.refusal or self.accepted or 'accepted'}{'' if self.complete else ' (incomplete)'}"


def envoy_verdicts(answer: dict[str, Any]) -> list[Verdict]:
    """From the access log, and from what the upstream received."""
    received = [request for raw in answer["upstream"] for request in _parse_received(raw.encode("latin-1"))]
    verdicts: list[Verdict] = []
    for line in answer["log"]:
        status, details, _ = line.split("|", 2)
        if details.startswith(_CODEC_DETAILS):
            verdicts.append(Verdict((int(status), details), None, True))
        elif status == "0":
            verdicts.append(Verdict(None, None, False))
        else:
            accepted = received.pop(0) if details in ("via_upstream", "downstream_remote_disconnect") else None
            verdicts.append(Verdict(None, accepted, True))
    return verdicts


def our_verdicts(case: Case, server: Server) -> list[Verdict]:
    """What the codec let through, with what the connection manager and the upstream's codec would add."""
    verdicts: list[Verdict] = []
    for stream in server.streams:
        if stream.reply is not None:
            verdicts.append(Verdict(stream.reply, None, True))
        elif stream.headers is None:
            verdicts.append(Verdict(None, None, False))
        else:
            headers = stream.headers
            trailers = "" if stream.trailers is None else str(stream.trailers.items())
            authority = headers.authority
            if not authority and server.codec.protocol == HTTP10:
                authority = server.codec.settings.default_host_for_http_10
            path = authority if headers.method == b"CONNECT" else headers.path
            if case.cluster == "full":
                path = b"http://" + authority + path
            raw = headers.method == b"CONNECT" or headers.contains(b"upgrade")
            verdicts.append(
                Verdict(
                    None,
                    (
                        *[part.decode("latin-1") for part in (headers.method, path, authority, stream.body)],
                        trailers,
                    ),
                    stream.complete or raw,
                )
            )
    return verdicts


def _parse_received(raw: bytes) -> list[tuple[str, ...]]:
    """The requests that the upstream got: Envoy's own framing, so h11 understands it."""
    requests: list[tuple[str, ...]] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(raw)
    while True:
        event = connection.next_event()
        if not isinstance(event, h11.Request):
            return requests
        fields = dict(event.headers)
        tunnel = event.method == b"CONNECT" or b"upgrade" in fields
        body = b""
        trailers = ""
        if tunnel:
            body = connection.trailing_data[0] if event.method == b"CONNECT" else raw[raw.index(b"\r\n\r\n") + 4 :]
            if event.method == b"CONNECT":
                body = raw[raw.index(b"\r\n\r\n") + 4 :]
        else:
            while True:
                part = connection.next_event()
                if isinstance(part, h11.Data):
                    body += bytes(part.data)
                elif isinstance(part, h11.EndOfMessage):
                    trailers = str(list(part.headers)) if part.headers else ""
                    break
                else:
                    break
        requests.append(
            (
                event.method.decode(),
                event.target.decode("latin-1"),
                fields[b"host"].decode("latin-1"),
                body.decode("latin-1"),
                trailers,
            )
        )
        if tunnel:
            return requests
        rest = connection.trailing_data[0]
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(rest)


def envoy_response_verdict(answer: dict[str, Any]) -> tuple[str, int, str]:
    """What became of an upstream's answer: `ok`, `protocol_error` or `connection_termination`; status and body."""
    status, details, _ = answer["log"][0].split("|", 2)
    code = 0 if details.startswith("upstream_reset_before") else int(status)
    outcome = "ok"
    if "{" in details:
        outcome = details[details.index("{") + 1 : -1]
    return outcome, code, _response_body(answer["response"].encode("latin-1")) if outcome == "ok" else ""


def _response_body(raw: bytes) -> str:
    while raw.startswith(b"HTTP/1.1 1") and not raw.startswith(b"HTTP/1.1 101"):
        raw = raw[raw.index(b"\r\n\r\n") + 4 :]
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(raw)
        body = b""
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif not isinstance(event, h11.Response):
                break
    return body.decode("latin-1")


def our_response_verdict(case: Case) -> tuple[str, int, str]:
    client = client_for(case)
    request = case.parts[0]
    method = request.split(b" ", 1)[0]
    fields = {}
    if b"Upgrade: foo" in request:
        fields = {"connection": b"Upgrade", "upgrade": b"foo"}
    _, decoder = client.request(method, method != b"CONNECT" and not fields, **fields)
    for part in case.answer:
        client.feed(part)
    if case.close_after:
        client.eof()
    complete = decoder.complete or client.codec.tunnel
    status = 0 if decoder.headers is None else decoder.headers.status
    if complete:
        return "ok", status, decoder.body.decode("latin-1")
    return "connection_termination" if client.error is None else "protocol_error", status, ""
