"""What logs may tell of a call to the authorization service: `%FILTER_STATE(<filter>:FIELD:latency_us)%` and so on."""

from __future__ import annotations

from outrider.data.filter_state import FilterStateObject
from outrider.data.stream_info import StreamInfo


class CallFacts(FilterStateObject):
    """One call. -1 where nothing is known (yet)."""

    __slots__ = ("latency_us", "sent", "received")

    def __init__(self) -> None:
        self.latency_us: int = -1
        # Bytes on the wire.
        self.sent: int = -1
        self.received: int = -1

    def field(self, name: str) -> object:
        value = -1
        if name == "latency_us":
            value = self.latency_us
        elif name == "bytesSent":
            value = self.sent
        elif name == "bytesReceived":
            value = self.received
        return None if value < 0 else value


def keep_call(info: StreamInfo, filter_name: str) -> CallFacts:
    """New facts, under the filter's configured name."""
    facts = CallFacts()
    if info.filter_state is None:
        info.filter_state = {}
    info.filter_state[filter_name] = facts
    return facts
