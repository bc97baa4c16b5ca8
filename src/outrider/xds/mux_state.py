"""The state-of-the-world form: each request names all that is wanted, each answer of a type holds all there is.

Source: Envoy's `GrpcMuxImpl`, "xDS REST and gRPC protocol".
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy
from outrider.config.subscription import CONNECTION_FAILURE, UPDATE_REJECTED, Resource
from outrider.xds import api_types
from outrider.xds.api_types import RESOURCE_WRAPPER
from outrider.xds.mux import Decoding, Mux, Ttl, Watch, WatchUser, set_error, shown
from outrider.xds.resource import Entry
from outrider.xds.xdstp import glob_of, is_xdstp, normal_name

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

_log: Final = logging.getLogger("outrider.config")


class TypeState:
    """What is known of one type."""

    __slots__ = ("identifier", "must_send_node", "nonce", "pending", "ttl", "type_name", "version", "watches")

    def __init__(self, type_name: str, ttl: Ttl) -> None:
        self.type_name = type_name
        # Newest first, as Envoy names them.
        self.watches: list[Watch] = []
        # Of the last answer that was accepted.
        self.version = ""
        # Of the last answer on this stream.
        self.nonce = ""
        # A request waits for the type to be resumed.
        self.pending = False
        self.ttl = ttl
        self.identifier = ""


class StateMux(Mux):
    """See above."""

    def __init__(self, dispatcher: Dispatcher, policy: LoadPolicy, node: bytes, node_once: bool) -> None:
        super().__init__(dispatcher, policy, node, node_once)
        # By the order in which they were first asked for.
        self.types: dict[str, TypeState] = {}
        self._queue: deque[str] = deque()
        self._errors: dict[str, ConfigError] = {}

    def add_watch(self, type_name: str, names: Iterable[str], user: WatchUser) -> Watch:
        watch = Watch(type_name, self.named(names), user)
        state = self.types.get(type_name)
        if state is None:
            self.decoder(type_name)
            state = self.types[type_name] = TypeState(type_name, Ttl(self.dispatcher, _Expiry(self, type_name)))
        state.watches.insert(0, watch)
        self.queue(type_name)
        return watch

    def update_watch(self, watch: Watch, names: Iterable[str]) -> None:
        watches = self.types[watch.type_name].watches
        if watch.names:
            # Taken out for a moment, as Envoy: the first of the two requests does not have its names.
            watches.remove(watch)
            self.queue(watch.type_name)
            watches.insert(0, watch)
        watch.names = self.named(names)
        if watches[0] is not watch:
            watches.remove(watch)
            watches.insert(0, watch)
        self.queue(watch.type_name)

    def remove_watch(self, watch: Watch) -> None:
        watches = self.types[watch.type_name].watches
        if watch not in watches:
            return
        watches.remove(watch)
        if watch.names and not self._closed:
            self.queue(watch.type_name)

    # Requests

    def queue(self, type_name: str) -> None:
        """Send a request for a type as soon as it may be."""
        if self.stream is None or not self.stream.established:
            _log.debug("No stream available to queueDiscoveryRequest for %s", api_types.type_url(type_name))
            return  # a new stream asks for everything
        if self.paused(type_name):
            self.types[type_name].pending = True
            return
        self._queue.append(type_name)
        self._drain()

    def on_resumed(self, type_name: str) -> None:
        state = self.types.get(type_name)
        if state is not None and state.pending:
            state.pending = False
            self.queue(type_name)

    def on_rate_limit_passed(self) -> None:
        self._drain()

    def _drain(self) -> None:
        stream = self.stream
        if stream is None:
            return
        while self._queue and stream.may_send():
            self._send(self._queue.popleft())
        stream.stats.waiting(len(self._queue))

    def _send(self, type_name: str) -> None:
        state = self.types[type_name]
        request: Any = api.new("envoy.service.discovery.v3.DiscoveryRequest")
        request.type_url = api_types.type_url(type_name)
        request.version_info = state.version
        request.response_nonce = state.nonce
        # A dict keeps the order of the first mention.
        names = {name: None for watch in state.watches for name in sorted(watch.names)}
        request.resource_names.extend(names)
        error = self._errors.pop(type_name, None)
        if error is not None:
            set_error(request.error_detail, error)
        self.send(request)

    def on_new_stream(self) -> None:
        self._queue.clear()
        self._errors.clear()
        for state in self.types.values():
            state.nonce = ""
        for type_name in list(self.types):
            self.queue(type_name)

    def on_stream_failed(self) -> None:
        for state in list(self.types.values()):
            for watch in list(state.watches):
                watch.user.on_update_failed(CONNECTION_FAILURE, "")

    # Answers

    def take_answer(self, message: bytes) -> Decoding | None:
        response: Any = api.new("envoy.service.discovery.v3.DiscoveryResponse")
        try:
            response.ParseFromString(message)
        except DecodeError:
            self.malformed()
            return None
        url = response.type_url
        _log.debug("Received gRPC message for %s at version %s", url, response.version_info)
        state = self.types.get(api.type_name(url))
        if state is None or url != api_types.type_url(state.type_name):
            _log.warning("Ignoring the message for type URL %s as it has no current subscribers.", url)
            return None
        if response.HasField("control_plane"):
            self._note_control_plane(state, response.control_plane.identifier)
        if not state.watches:
            state.nonce = response.nonce
            if not response.resources:
                state.version = response.version_info
            else:
                _log.warning("Ignoring unwatched type URL %s", url)
                self.queue(state.type_name)
            return None
        return _StateDecoding(self, state, response)

    def _note_control_plane(self, state: TypeState, identifier: str) -> None:
        if self.stream is not None:
            self.stream.stats.identifier.set(identifier)
        if identifier != state.identifier:
            state.identifier = identifier
            _log.debug("Receiving gRPC updates for %s from %s", api_types.type_url(state.type_name), identifier)

    def distribute(self, state: TypeState, entries: list[Entry], version: str) -> None:
        """Hand resources to whom they are for. Raises ConfigError: somebody refused."""
        resources = [entry.resource for entry in entries if entry.resource is not None]
        if self.validators:
            self.validate(state.type_name, resources, {resource.name for resource in resources})
        for entry in entries:
            state.ttl.renew(entry.name, entry.ttl_s)
        state.ttl.schedule()
        by_name: dict[str, Resource] = {}
        folders: dict[str, list[Resource]] = {}
        for resource in resources:
            if is_xdstp(resource.name):
                by_name.setdefault(normal_name(resource.name), resource)
                folders.setdefault(glob_of(resource.name) or "", []).append(resource)
            else:
                by_name.setdefault(resource.name, resource)
        for watch in list(state.watches):
            if not watch.names:
                self.decoder(state.type_name).keep_only(set(by_name))
                watch.user.on_state(resources, version)
                continue
            found: list[Resource] = []
            for name in sorted(watch.names):
                if name in by_name:
                    found.append(by_name[name])
                elif name in folders:
                    found += folders[name]
            if found:
                watch.user.on_state(found, version)
        state.version = version

    def answer(self, state: TypeState, nonce: str, error: ConfigError | None, current: bool) -> None:
        """ACK, or NACK with an error; nothing when the stream that asked is gone."""
        if not current:
            return
        state.nonce = nonce
        if error is not None:
            self._errors[state.type_name] = error
        self.queue(state.type_name)

    def expired(self, type_name: str, names: list[str]) -> None:
        """The time of some resources has run out."""
        for watch in list(self.types[type_name].watches):
            watch.user.on_delta([], names, "")


class _Expiry:
    """`Ttl` tells its mux, which needs the type."""

    __slots__ = ("mux", "type_name")

    def __init__(self, mux: StateMux, type_name: str) -> None:
        self.mux = mux
        self.type_name = type_name

    def __call__(self, names: list[str]) -> None:
        self.mux.expired(self.type_name, names)


class _StateDecoding(Decoding):
    __slots__ = ("entries", "index", "mux", "response", "state")

    def __init__(self, mux: StateMux, state: TypeState, response: Any) -> None:
        self.mux = mux
        self.state = state
        self.response = response
        self.entries: list[Entry] = []
        self.index = 0

    def step(self) -> bool:
        response = self.response
        if self.index >= len(response.resources):
            return False
        packed = response.resources[self.index]
        self.index += 1
        url = response.type_url
        if packed.type_url != url and api.type_name(packed.type_url) != RESOURCE_WRAPPER:
            raise ConfigError(
                f"{packed.type_url} does not match the message-wide type URL {url} in DiscoveryResponse "
                f"{shown(response)}"
            )
        entry = self.mux.decoder(self.state.type_name).from_any(packed, response.version_info)
        if entry.resource is None and entry.version == self.state.version:
            # A heartbeat.
            self.state.ttl.renew(entry.name, entry.ttl_s)
            self.state.ttl.schedule()
        else:
            self.entries.append(entry)
        return True

    def apply(self, generation_is_current: bool) -> None:
        mux, state = self.mux, self.state
        mux.pause(state.type_name)
        try:
            # Nothing but heartbeats says nothing of what there is.
            if self.entries or not self.response.resources:
                mux.distribute(state, self.entries, self.response.version_info)
            error = None
        except ConfigError as refused:
            error = refused
            self._tell(refused)
        mux.answer(state, self.response.nonce, error, generation_is_current)
        mux.resume(state.type_name)

    def refuse(self, error: ConfigError, generation_is_current: bool) -> None:
        self.mux.pause(self.state.type_name)
        self._tell(error)
        self.mux.answer(self.state, self.response.nonce, error, generation_is_current)
        self.mux.resume(self.state.type_name)

    def _tell(self, error: ConfigError) -> None:
        for watch in list(self.state.watches):
            watch.user.on_update_failed(UPDATE_REJECTED, str(error))
