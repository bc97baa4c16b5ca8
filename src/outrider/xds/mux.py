"""What both forms of the protocol share: who watches what over one stream, pausing, and answers taken one by one.

Source: Envoy's `GrpcMux`; "xDS REST and gRPC protocol".
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy
from outrider.config.subscription import Resource
from outrider.data.grpc_status import INTERNAL
from outrider.xds.resource import ResourceDecoder
from outrider.xds.transport.failover import FailoverStream
from outrider.xds.transport.grpc_stream import ConfigStream, StreamUser
from outrider.xds.validators import ConfigValidator
from outrider.xds.xdstp import normal_name

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

WILDCARD: Final = "*"
_SLICE_S: Final = 0.008
"""How long an answer is decoded before the loop gets its turn."""
_LONGEST_ERROR: Final = 4096
_SHOWN: Final = 20
"""Resources of a refused answer that the error shows."""
_CUT: Final = "...(truncated)"


class WatchUser:
    """Told of what comes for one watch. `on_state` and `on_delta` refuse by raising ConfigError."""

    def on_state(self, resources: list[Resource], version: str) -> None:
        raise NotImplementedError

    def on_delta(self, added: list[Resource], removed: list[str], version: str) -> None:
        raise NotImplementedError

    def on_update_failed(self, reason: int, error: str) -> None:
        """As `SubscriptionCallbacks.on_failed`."""
        raise NotImplementedError


class Watch:
    """The interest of one user. No names: all there are."""

    __slots__ = ("names", "type_name", "user")

    def __init__(self, type_name: str, names: frozenset[str], user: WatchUser) -> None:
        self.type_name = type_name
        self.names = names
        self.user = user

    def __repr__(self) -> str:
        return f"<Watch {self.type_name} {sorted(self.names) or 'all'}>"


class Decoding:
    """One answer on its way: decoded in slices, then applied."""

    def step(self) -> bool:
        """Decode one resource more; False when there is none left. Raises ConfigError: the answer is refused."""
        raise NotImplementedError

    def apply(self, generation_is_current: bool) -> None:
        """All are decoded: hand them on, and answer. `generation_is_current`: the stream is still the one that the
        answer came by."""
        raise NotImplementedError

    def refuse(self, error: ConfigError, generation_is_current: bool) -> None:
        """Answer with a NACK."""
        raise NotImplementedError


class Mux(StreamUser):
    """Watches over one stream."""

    def __init__(self, dispatcher: Dispatcher, policy: LoadPolicy, node: bytes, node_once: bool) -> None:
        self.dispatcher = dispatcher
        self.policy = policy
        # Field `node` of the requests, serialized once.
        self.node = node
        self.node_once = node_once
        self.stream: ConfigStream | FailoverStream | None = None
        self.decoders: dict[str, ResourceDecoder] = {}
        self.validators: list[ConfigValidator] = []
        # Parameters of the node that names of collections get.
        self.context_params: dict[str, str] = {}
        self._pauses: dict[str, int] = {}
        self._node_sent = False
        self._generation = 0
        self._answers: deque[tuple[int, bytes]] = deque()
        self._decoding: Decoding | None = None
        self._decoding_generation = 0
        self._closed = False

    # What subscriptions use

    def add_watch(self, type_name: str, names: Iterable[str], user: WatchUser) -> Watch:
        """Watch these names of a type; none: all there are."""
        raise NotImplementedError

    def update_watch(self, watch: Watch, names: Iterable[str]) -> None:
        """From now on these names."""
        raise NotImplementedError

    def remove_watch(self, watch: Watch) -> None:
        """The end of an interest."""
        raise NotImplementedError

    def request_on_demand(self, type_name: str, names: Iterable[str]) -> None:
        """Ask for these once more or for the first time, beside what is watched."""

    def start(self) -> None:
        """Open the stream."""
        if self.stream is not None:
            self.stream.start()

    def close(self) -> None:
        self._closed = True
        self._answers.clear()
        self._decoding = None
        if self.stream is not None:
            self.stream.close()

    def named(self, names: Iterable[str]) -> frozenset[str]:
        """Names in the form in which they are sent. Raises ConfigError."""
        return frozenset(normal_name(name, self.context_params) for name in names)

    def validate(self, type_name: str, resources: list[Resource], names: set[str]) -> None:
        """Have the validators look at an update: what is in it, and the names there would be. Raises ConfigError."""
        for validator in self.validators:
            if validator.type_name == type_name:
                validator.check(resources, names)

    # Pausing

    def pause(self, type_name: str) -> None:
        """Hold back requests of a type; calls are counted."""
        self._pauses[type_name] = self._pauses.get(type_name, 0) + 1

    def resume(self, type_name: str) -> None:
        """Undo one `pause`."""
        left = self._pauses[type_name] - 1
        if left:
            self._pauses[type_name] = left
            return
        del self._pauses[type_name]
        self.on_resumed(type_name)

    def paused(self, type_name: str) -> bool:
        return type_name in self._pauses

    def on_resumed(self, type_name: str) -> None:
        """Requests of the type may be sent again."""
        raise NotImplementedError

    # The stream

    def on_stream_established(self) -> None:
        self._generation += 1
        self._node_sent = False
        if self.stream is not None:
            self.stream.stats.waiting(0)
        self.on_new_stream()

    def on_new_stream(self) -> None:
        """Tell the server of all interest."""
        raise NotImplementedError

    def on_message(self, message: bytes) -> None:
        self._answers.append((self._generation, message))
        if self._decoding is None:
            self._work()

    def take_answer(self, message: bytes) -> Decoding | None:
        """Begin with one answer; None: it needs nothing more."""
        raise NotImplementedError

    def malformed(self) -> None:
        """What came is no message: nothing after it can be trusted."""
        if self.stream is not None:
            self.stream.fail(INTERNAL, "")

    def decoder(self, type_name: str) -> ResourceDecoder:
        decoder = self.decoders.get(type_name)
        if decoder is None:
            decoder = self.decoders[type_name] = ResourceDecoder(type_name, self.policy)
        return decoder

    def send(self, request: Any) -> None:
        """Serialize and send. The node goes along unless it was sent on this stream already and once is enough."""
        if self.stream is None:
            return
        if not (self.node_once and self._node_sent):
            request.node.ParseFromString(self.node)
            self._node_sent = True
        message: Message = request
        self.stream.send(message.SerializeToString())

    def _work(self) -> None:
        """Decode and apply what has come, for a slice of time; then let the loop have its turn."""
        deadline = time.monotonic() + _SLICE_S
        while not self._closed:
            decoding = self._decoding
            if decoding is None:
                if not self._answers:
                    return
                generation, message = self._answers.popleft()
                decoding = self.take_answer(message)
                if decoding is None:
                    continue
                self._decoding = decoding
                self._decoding_generation = generation
            current = self._decoding_generation == self._generation
            try:
                while decoding.step():
                    if time.monotonic() > deadline:
                        self.dispatcher.post(self._work)
                        return
            except ConfigError as error:
                self._decoding = None
                decoding.refuse(error, current)
                continue
            # Cleared only afterwards: what comes while callbacks run waits its turn.
            try:
                decoding.apply(current)
            finally:
                self._decoding = None


class Ttl:
    """Resources that are to be dropped when nothing renews them."""

    __slots__ = ("_due", "_expired", "_handle", "_dispatcher")

    def __init__(self, dispatcher: Dispatcher, expired: Callable[[list[str]], None]) -> None:
        self._dispatcher = dispatcher
        self._expired = expired
        # Monotonic nanoseconds by name.
        self._due: dict[str, int] = {}
        self._handle: Any = None

    def renew(self, name: str, ttl_s: float | None) -> None:
        """A resource came, or its heartbeat; None: it does not expire (any more)."""
        if ttl_s is None:
            self._due.pop(name, None)
        else:
            self._due[name] = self._dispatcher.monotonic_ns() + int(ttl_s * 1e9)

    def schedule(self) -> None:
        """To be called after a number of `renew`."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._due:
            delay = (min(self._due.values()) - self._dispatcher.monotonic_ns()) / 1e9
            self._handle = self._dispatcher.call_later(max(delay, 0.0), self._ring)

    def clear(self) -> None:
        self._due.clear()
        self.schedule()

    def _ring(self) -> None:
        self._handle = None
        now = self._dispatcher.monotonic_ns()
        expired = [name for name, due in self._due.items() if due <= now]
        for name in expired:
            del self._due[name]
        self.schedule()
        if expired:
            self._expired(expired)


def set_error(status: Any, error: ConfigError) -> None:
    """Fill the `google.rpc.Status` of a NACK."""
    status.code = INTERNAL
    status.message = cut(str(error))


def cut(text: str) -> str:
    """At most so many bytes as Envoy sends."""
    encoded = text.encode()
    if len(encoded) <= _LONGEST_ERROR:
        return text
    return encoded[:_LONGEST_ERROR].decode(errors="ignore") + _CUT


def shown(response: Any) -> str:
    """An answer as text for an error; of a long one, its beginning: more would be cut off anyway."""
    if len(response.resources) > _SHOWN:
        brief = type(response)()
        brief.CopyFrom(response)
        del brief.resources[_SHOWN:]
        response = brief
    return str(response)
