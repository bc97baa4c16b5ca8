"""statsd, DogStatsD and Graphite: line formats, datagrams, and the UDP and TCP sinks.

Envoy sends a histogram's value when it is recorded. Here values are sent at the flush, from the
interval's bins: exact below 100, else to two digits. Many equal values go as one line with a
sample rate, which statsd servers count as that many.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Final

from outrider.stats.bins import bin_value
from outrider.stats.flush import FlushSnapshot, StatsSink
from outrider.stats.metrics import PERCENT_SCALE, UNIT_MICROSECONDS, UNIT_PERCENT, Histogram, Metric
from outrider.stats.numbers import shortest, six_digits
from outrider.stats.tags import TagProducer

DEFAULT_PREFIX: Final = "envoy"

# Equal values of a histogram sent one by one; more of them share a line with a sample rate.
MAX_REPEATS: Final = 16

# Bytes handed to a TCP connection at a time, as Envoy's.
TCP_SLICE_BYTES: Final = 16 * 1024


class StatsdStyle(Enum):
    """Where tags go."""

    PLAIN = "statsd"
    DOG = "dog_statsd"
    GRAPHITE = "graphite_statsd"


class StatsdFormatter:
    """Turns a flush into statsd lines, without line ends."""

    __slots__ = ("prefix", "scale_to_ms", "style")

    def __init__(self, style: StatsdStyle, prefix: str = "", scale_to_ms: bool = False) -> None:
        """`scale_to_ms`: send microsecond histograms as milliseconds."""
        self.style = style
        self.prefix = prefix or DEFAULT_PREFIX
        self.scale_to_ms = scale_to_ms

    def lines(self, snapshot: FlushSnapshot) -> Iterator[str]:
        producer = snapshot.producer
        for counter, delta in snapshot.counters:
            yield self.line(counter, str(delta), "c", producer)
        for gauge in snapshot.gauges:
            yield self.line(gauge, str(gauge.total()), "g", producer)
        for histogram in snapshot.histograms:
            if histogram.interval:
                yield from self.histogram_lines(histogram, producer)

    def line(self, metric: Metric, value: str, kind: str, producer: TagProducer) -> str:
        """One line; `kind` is what follows the bar: `c`, `g`, `ms`, `h`, with a sample rate or not."""
        if self.style is StatsdStyle.PLAIN:
            return f"{self.prefix}.{metric.name}:{value}|{kind}"
        producer.describe(metric)
        name = metric.tag_extracted_name
        if self.style is StatsdStyle.DOG:
            tags = ",".join([f"{tag}:{text}" for tag, text in metric.tags])
            return f"{self.prefix}.{name}:{value}|{kind}|#{tags}" if tags else f"{self.prefix}.{name}:{value}|{kind}"
        tags = "".join([f";{tag}={text}" for tag, text in metric.tags])
        return f"{self.prefix}.{name}{tags}:{value}|{kind}"

    def histogram_lines(self, histogram: Histogram, producer: TagProducer) -> Iterator[str]:
        kind = "h" if histogram.unit == UNIT_PERCENT else "ms"
        for key, count in histogram.interval.items():
            value = self.value_text(bin_value(key), histogram.unit)
            if count <= MAX_REPEATS:
                line = self.line(histogram, value, kind, producer)
                for _ in range(count):
                    yield line
            else:
                yield self.line(histogram, value, f"{kind}|@{six_digits(1 / count)}", producer)

    def value_text(self, value: float, unit: int) -> str:
        if unit == UNIT_PERCENT:
            return six_digits(value / PERCENT_SCALE)
        if unit == UNIT_MICROSECONDS and self.scale_to_ms:
            return shortest(value / 1000)
        return str(int(value))


def pack_datagrams(lines: Iterable[str], max_bytes: int) -> Iterator[bytes]:
    """Datagrams of several lines up to `max_bytes`; of one line each when that is 0.

    A line longer than `max_bytes` goes alone.
    """
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode("utf-8", "surrogateescape")
        if waiting and size + 1 + len(data) > max_bytes:
            yield b"\n".join(waiting)
            waiting.clear()
            size = 0
        size += len(data) + (1 if waiting else 0)
        waiting.append(data)
    if waiting:
        yield b"\n".join(waiting)


class UdpStatsdSink(StatsSink):
    """Sends lines to a UDP address; what the socket cannot take at once is lost and counted."""

    __slots__ = ("address", "dropped", "formatter", "max_bytes", "sock")

    def __init__(self, formatter: StatsdFormatter, host: str, port: int, max_bytes: int = 0) -> None:
        """`host` is an IP address. Raises OSError when there is no such address family or route."""
        self.formatter = formatter
        self.address = (host, port)
        self.max_bytes = max_bytes
        self.dropped = 0
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)

    def flush(self, snapshot: FlushSnapshot) -> None:
        send = self.sock.sendto
        for datagram in pack_datagrams(self.formatter.lines(snapshot), self.max_bytes):
            try:
                send(datagram, self.address)
            except OSError:
                self.dropped += 1

    def close(self) -> None:
        self.sock.close()


class TcpStatsdSink(StatsSink):
    """Hands newline-terminated lines to a connection that somebody else keeps."""

    __slots__ = ("formatter", "send")

    def __init__(self, formatter: StatsdFormatter, send: Callable[[bytes], None]) -> None:
        """`send` takes up to about TCP_SLICE_BYTES; it buffers within bounds or drops, never blocks."""
        self.formatter = formatter
        self.send = send

    def flush(self, snapshot: FlushSnapshot) -> None:
        waiting: list[str] = []
        size = 0
        for line in self.formatter.lines(snapshot):
            waiting.append(line)
            size += len(line) + 1
            if size >= TCP_SLICE_BYTES:
                self.send(join_lines(waiting))
                waiting.clear()
                size = 0
        if waiting:
            self.send(join_lines(waiting))


def join_lines(lines: list[str]) -> bytes:
    """Lines with their line ends."""
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")
