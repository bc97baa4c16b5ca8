"""echo and direct_response on a connection that only remembers."""

from __future__ import annotations

from outrider.data.stream_info import ConnectionInfo
from outrider.extensions.filters.network.direct_response import DirectResponse
from outrider.extensions.filters.network.echo import Echo
from outrider.network.connection import STATE_CLOSING, Connection
from outrider.network.filter import NetworkFilter
from tests.network.test_tcp_proxy import CLIENT, HERE, Wire
from tests.upstream.fakes import FakeDispatcher


def connection(network_filter: NetworkFilter) -> tuple[Connection, Wire]:
    dispatcher = FakeDispatcher()
    dispatcher.cork = None  # type: ignore[attr-defined]
    made = Connection(dispatcher, ConnectionInfo(1, HERE, CLIENT))  # type: ignore[arg-type]
    wire = Wire()
    wire.connection = made
    made.set_buffer_limits(1000)
    made.connection_made(wire)
    made.add_filter(network_filter)
    made.raise_connected()
    made.start_filters()
    return made, wire


def test_echo_sends_back_and_half_closes() -> None:
    made, wire = connection(Echo())
    data = b"hello"
    made.data_received(data)
    assert wire.sent[0] is data
    made.eof_received()
    assert wire.eof
    assert wire.closed


def test_echo_does_not_buffer_for_a_peer_that_does_not_read() -> None:
    made, wire = connection(Echo())
    wire.blocked = True
    made.data_received(b"x" * 1001)
    assert not wire.reading
    wire.take()
    assert wire.reading


def test_direct_response_answers_and_closes() -> None:
    made, wire = connection(DirectResponse(b"bye"))
    assert wire.sent == [b"bye"]
    assert made.state == STATE_CLOSING
    assert wire.closed


def test_an_empty_direct_response_only_closes() -> None:
    _, wire = connection(DirectResponse(b""))
    assert wire.sent == []
    assert wire.closed
