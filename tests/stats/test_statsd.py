"""statsd lines and datagrams; forms seen from Envoy 1.40."""

import socket

import pytest

from outrider.stats.flush import FlushSnapshot
from outrider.stats.metrics import PERCENT_SCALE, UNIT_MICROSECONDS, UNIT_MILLISECONDS, UNIT_PERCENT
from outrider.stats.statsd import (
    MAX_REPEATS,
    TCP_SLICE_BYTES,
    StatsdFormatter,
    StatsdStyle,
    TcpStatsdSink,
    UdpStatsdSink,
    pack_datagrams,
)
from outrider.stats.store import Store
from outrider.stats.tags import FixedTag, TagProducer, default_extractors


def snapshot() -> FlushSnapshot:
    store = Store()
    store.counter("http.in.downstream_rq_2xx").add(4)
    store.counter("plain.zz").add(4)
    store.counter("plain.zz").latch()
    store.gauge("server.live").set(1)
    store.counter("tagged.cnt", tags=(("k1", "0"), ("k.2", "v|2"))).inc()
    store.histogram("hh.ms", UNIT_MILLISECONDS).record(150)
    store.histogram("hh.us", UNIT_MICROSECONDS).record(5)
    store.histogram("hh.pct", UNIT_PERCENT).record(0.055 * PERCENT_SCALE)
    store.histogram("hh.none")
    for histogram in store.histograms.values():
        histogram.merge()
    return FlushSnapshot(store, TagProducer([*default_extractors(), FixedTag("fx", "v1")]))


@pytest.mark.parametrize(
    ("style", "lines"),
    [
        (
            StatsdStyle.PLAIN,
            [
                "envoy.http.in.downstream_rq_2xx:4|c",
                "envoy.plain.zz:0|c",
                "envoy.tagged.cnt.k1.0.k.2.v|2:1|c",
                "envoy.server.live:1|g",
                "envoy.hh.ms:155|ms",
                "envoy.hh.us:5|ms",
                "envoy.hh.pct:0.0555|h",
            ],
        ),
        (
            StatsdStyle.DOG,
            [
                "envoy.http.downstream_rq_xx:4|c|#envoy.response_code_class:2,fx:v1,envoy.http_conn_manager_prefix:in",
                "envoy.plain.zz:0|c|#fx:v1",
                "envoy.tagged.cnt:1|c|#k1:0,k.2:v|2",
                "envoy.server.live:1|g|#fx:v1",
                "envoy.hh.ms:155|ms|#fx:v1",
                "envoy.hh.us:5|ms|#fx:v1",
                "envoy.hh.pct:0.0555|h|#fx:v1",
            ],
        ),
        (
            StatsdStyle.GRAPHITE,
            [
                "envoy.http.downstream_rq_xx;envoy.response_code_class=2;fx=v1;envoy.http_conn_manager_prefix=in:4|c",
                "envoy.plain.zz;fx=v1:0|c",
                "envoy.tagged.cnt;k1=0;k.2=v|2:1|c",
                "envoy.server.live;fx=v1:1|g",
                "envoy.hh.ms;fx=v1:155|ms",
                "envoy.hh.us;fx=v1:5|ms",
                "envoy.hh.pct;fx=v1:0.0555|h",
            ],
        ),
    ],
)
def test_lines(style: StatsdStyle, lines: list[str]) -> None:
    assert list(StatsdFormatter(style).lines(snapshot())) == lines


def test_prefix_and_scaling() -> None:
    lines = list(StatsdFormatter(StatsdStyle.PLAIN, "pp", scale_to_ms=True).lines(snapshot()))
    assert "pp.hh.us:0.005|ms" in lines
    assert "pp.hh.ms:155|ms" in lines


def test_many_equal_values_share_a_line_with_a_sample_rate() -> None:
    store = Store()
    for value, count in ((3, MAX_REPEATS), (4, 100)):
        for _ in range(count):
            store.histogram("h").record(value)
    store.histogram("h").merge()
    lines = list(StatsdFormatter(StatsdStyle.PLAIN).lines(FlushSnapshot(store, TagProducer())))
    assert lines.count("envoy.h:3|ms") == MAX_REPEATS
    assert lines[MAX_REPEATS:] == ["envoy.h:4|ms|@0.01"]


def test_datagrams() -> None:
    lines = ["aaaa", "bbbb", "c" * 20, "d"]
    assert list(pack_datagrams(lines, 0)) == [line.encode() for line in lines]
    assert list(pack_datagrams(lines, 9)) == [b"aaaa\nbbbb", b"c" * 20, b"d"]
    assert list(pack_datagrams(lines, 8)) == [b"aaaa", b"bbbb", b"c" * 20, b"d"]
    assert list(pack_datagrams([], 100)) == []


def test_udp_sink_sends_datagrams() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        sink = UdpStatsdSink(StatsdFormatter(StatsdStyle.PLAIN), "127.0.0.1", server.getsockname()[1], 1432)
        sink.flush(snapshot())
        sink.close()
        received = server.recv(65536)
    assert received.startswith(b"envoy.http.in.downstream_rq_2xx:4|c\nenvoy.plain.zz:0|c\n")
    assert sink.dropped == 0


def test_udp_sink_counts_what_it_cannot_send() -> None:
    sink = UdpStatsdSink(StatsdFormatter(StatsdStyle.PLAIN), "127.0.0.1", 9)
    sink.close()
    sink.flush(snapshot())
    assert sink.dropped == 7


def test_tcp_sink_sends_slices_of_whole_lines() -> None:
    store = Store()
    for number in range(2000):
        store.counter(f"counter.{number}").inc()
    sent: list[bytes] = []
    TcpStatsdSink(StatsdFormatter(StatsdStyle.PLAIN), sent.append).flush(FlushSnapshot(store, TagProducer()))
    assert len(sent) > 1
    assert all(data.endswith(b"\n") and len(data) < TCP_SLICE_BYTES + 100 for data in sent)
    assert b"".join(sent).count(b"\n") == 2000
