"""The incremental form: requests and answers say what has changed.

Source: Envoy's `NewGrpcMuxImpl` and `WatchMap`; "xDS REST and gRPC protocol", "Incremental xDS".
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
from outrider.config.view import View
from outrider.xds.delta_state import DeltaState
from outrider.xds.mux import WILDCARD, Decoding, Mux, Ttl, Watch, WatchUser, set_error, shown
from outrider.xds.resource import Entry
from outrider.xds.xdstp import glob_of

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

_log: Final = logging.getLogger("outrider.config")

VIRTUAL_HOST: Final = "envoy.config.route.v3.VirtualHost"


class Ack:
    """An answer of ours that has not been sent."""

    __slots__ = ("error", "nonce", "type_name")

    def __init__(self, type_name: str, nonce: str) -> None:
        self.type_name = type_name
        self.nonce = nonce
        self.error: ConfigError | None = None


class DeltaType:
    """One type: who watches it, and what the server knows."""

    __slots__ = ("by_name", "identifier", "state", "ttl", "type_name", "watches", "wildcard_watches")

    def __init__(self, type_name: str, ttl: Ttl) -> None:
        self.type_name = type_name
        self.state = DeltaState(type_name)
        self.ttl = ttl
        # Dicts as sets that keep their order.
        self.watches: dict[Watch, None] = {}
        self.wildcard_watches: dict[Watch, None] = {}
        self.by_name: dict[str, dict[Watch, None]] = {}
        self.identifier = ""

    def change(self, watch: Watch, names: frozenset[str]) -> tuple[list[str], list[str]]:
        """Give a watch other names: those that nobody wanted before, and those that nobody wants any more."""
        if names:
            self.wildcard_watches.pop(watch, None)
        else:
            self.wildcard_watches[watch] = None
        added, removed = [], []
        for name in sorted(names - watch.names):
            interested = self.by_name.setdefault(name, {})
            if not interested:
                added.append(name)
            interested[watch] = None
        for name in sorted(watch.names - names):
            interested = self.by_name[name]
            del interested[watch]
            if not interested:
                del self.by_name[name]
                removed.append(name)
        watch.names = names
        return added, removed

    def interested(self, name: str) -> list[Watch]:
        """Who wants a resource of that name."""
        named = self.by_name.get(name)
        glob = glob_of(name)
        if glob is not None and glob in self.by_name:
            named = {**(named or {}), **self.by_name[glob]}
        elif named is None and self.type_name == VIRTUAL_HOST:
            # `<route configuration>/<host>`: who asks for the route configuration's hosts wants them all.
            named = self.by_name.get(name.rpartition("/")[0])
        if named is None:
            return list(self.wildcard_watches)
        return [*self.wildcard_watches, *(watch for watch in named if watch not in self.wildcard_watches)]


class DeltaMux(Mux):
    """See above."""

    def __init__(self, dispatcher: Dispatcher, policy: LoadPolicy, node: bytes, node_once: bool) -> None:
        super().__init__(dispatcher, policy, node, node_once)
        # By the order in which they were first asked for.
        self.types: dict[str, DeltaType] = {}
        self._acks: deque[Ack] = deque()

    def add_watch(self, type_name: str, names: Iterable[str], user: WatchUser) -> Watch:
        kind = self.types.get(type_name)
        if kind is None:
            self.decoder(type_name)
            kind = self.types[type_name] = DeltaType(type_name, Ttl(self.dispatcher, _Expiry(self, type_name)))
        watch = Watch(type_name, frozenset(), user)
        kind.watches[watch] = None
        self.update_watch(watch, names)
        return watch

    def update_watch(self, watch: Watch, names: Iterable[str]) -> None:
        kind = self.types[watch.type_name]
        added, removed = kind.change(watch, self.named(names))
        if kind.type_name == VIRTUAL_HOST:
            # These are names of route configurations, not of resources: the request says none.
            added, removed = [], []
        kind.state.change_interest(added, removed)
        if kind.state.request_pending():
            self.send_all()

    def remove_watch(self, watch: Watch) -> None:
        kind = self.types[watch.type_name]
        if watch not in kind.watches:
            return
        _, removed = kind.change(watch, frozenset())
        if kind.type_name == VIRTUAL_HOST:
            removed = []
        kind.wildcard_watches.pop(watch, None)
        del kind.watches[watch]
        if self._closed:
            return
        kind.state.change_interest((), removed)
        if removed:
            self.send_all()

    def request_on_demand(self, type_name: str, names: Iterable[str]) -> None:
        kind = self.types.get(type_name)
        if kind is not None:
            kind.state.change_interest(sorted(names), ())
            if kind.state.request_pending():
                self.send_all()

    # Requests

    def on_resumed(self, type_name: str) -> None:
        self.send_all()

    def on_rate_limit_passed(self) -> None:
        self.send_all()

    def send_all(self) -> None:
        """Send what there is to say, ACKs first."""
        stream = self.stream
        if stream is None:
            return
        while stream.established:
            ack = self._next_ack()
            kind = self.types[ack.type_name] if ack is not None else self._next_type()
            if kind is None or not stream.may_send():
                break
            request = kind.state.request()
            if ack is not None:
                self._acks.remove(ack)
                request.response_nonce = ack.nonce
                if ack.error is not None:
                    set_error(request.error_detail, ack.error)
            self.send(request)
        stream.stats.waiting(len(self._acks))

    def _next_ack(self) -> Ack | None:
        for ack in self._acks:
            if not self.paused(ack.type_name):
                return ack
        return None

    def _next_type(self) -> DeltaType | None:
        for kind in self.types.values():
            if kind.state.request_pending() and not self.paused(kind.type_name):
                return kind
        return None

    def on_new_stream(self) -> None:
        self._acks.clear()
        for kind in self.types.values():
            kind.state.new_stream()
        self.send_all()

    def on_stream_failed(self) -> None:
        for kind in list(self.types.values()):
            for watch in list(kind.watches):
                watch.user.on_update_failed(CONNECTION_FAILURE, "")

    # Answers

    def take_answer(self, message: bytes) -> Decoding | None:
        response: Any = api.new("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        try:
            response.ParseFromString(message)
        except DecodeError:
            self.malformed()
            return None
        url = response.type_url
        version = response.system_version_info
        _log.debug("Received DeltaDiscoveryResponse for %s at version %s", url, version)
        kind = self.types.get(api.type_name(url))
        if kind is None or url != kind.state.type_url:
            _log.warning(
                "Dropping received DeltaDiscoveryResponse (with version %s) for non-existent subscription %s.",
                version,
                url,
            )
            return None
        if response.HasField("control_plane"):
            self._note_control_plane(kind, response.control_plane.identifier)
        return _DeltaDecoding(self, kind, response)

    def _note_control_plane(self, kind: DeltaType, identifier: str) -> None:
        if self.stream is not None:
            self.stream.stats.identifier.set(identifier)
        if identifier != kind.identifier:
            kind.identifier = identifier
            _log.debug("Receiving gRPC updates for %s from %s", kind.state.type_url, identifier)

    def distribute(self, kind: DeltaType, entries: list[Entry], removed: list[str], version: str) -> None:
        """Hand changes to whom they are for. Raises ConfigError: somebody refused."""
        if self.validators:
            resources = [entry.resource for entry in entries if entry.resource is not None]
            names = (kind.state.names() | {resource.name for resource in resources}) - set(removed)
            self.validate(kind.type_name, resources, names)
        added_for: dict[Watch, list[Resource]] = {}
        removed_for: dict[Watch, list[str]] = {}
        for entry in entries:
            resource = entry.resource
            if resource is None and kind.type_name == VIRTUAL_HOST:
                # The answer to who asked for a host on demand: there is none.
                nothing = View(api.new(VIRTUAL_HOST))
                resource = Resource(entry.name, entry.version, VIRTUAL_HOST, b"", nothing, entry.aliases)
            if resource is not None:
                for watch in self._interested(kind, entry):
                    added_for.setdefault(watch, []).append(resource)
        for name in removed:
            for watch in kind.interested(name):
                removed_for.setdefault(watch, []).append(name)
        if not entries and not removed:
            # The server has nothing: that, too, is an answer to who waits for all there is.
            for watch in kind.wildcard_watches:
                added_for[watch] = []
        for watch, added in added_for.items():
            if watch in kind.watches:
                watch.user.on_delta(added, removed_for.pop(watch, []), version)
        for watch, gone in removed_for.items():
            if watch in kind.watches:
                watch.user.on_delta([], gone, version)

    def _interested(self, kind: DeltaType, entry: Entry) -> list[Watch]:
        watches = kind.interested(entry.name)
        for alias in entry.aliases:
            watches += [watch for watch in kind.interested(alias) if watch not in watches]
        return watches

    def answer(self, ack: Ack) -> None:
        """Send an ACK or NACK as soon as it may be."""
        self._acks.append(ack)
        self.send_all()

    def expired(self, type_name: str, names: list[str]) -> None:
        """The time of some resources has run out."""
        kind = self.types[type_name]
        for name in names:
            kind.state.lost(name)
        try:
            self.distribute(kind, [], names, "")
        except ConfigError as error:
            _log.warning("resources whose time has run out stay: %s", error)


class _Expiry:
    """`Ttl` tells its mux, which needs the type."""

    __slots__ = ("mux", "type_name")

    def __init__(self, mux: DeltaMux, type_name: str) -> None:
        self.mux = mux
        self.type_name = type_name

    def __call__(self, names: list[str]) -> None:
        self.mux.expired(self.type_name, names)


class _DeltaDecoding(Decoding):
    __slots__ = ("entries", "heartbeats", "index", "kind", "mux", "response", "seen")

    def __init__(self, mux: DeltaMux, kind: DeltaType, response: Any) -> None:
        self.mux = mux
        self.kind = kind
        self.response = response
        self.entries: list[Entry] = []
        self.heartbeats: list[Entry] = []
        self.seen: set[str] = set()
        self.index = 0

    def step(self) -> bool:
        response = self.response
        if self.index >= len(response.resources):
            for name in response.removed_resources:
                if name in self.seen:
                    raise ConfigError(f"duplicate name {name} found in the union of added+removed resources")
                self.seen.add(name)
            return False
        wrapper = response.resources[self.index]
        self.index += 1
        name = wrapper.name
        if name in self.seen:
            raise ConfigError(f"duplicate name {name} found among added/updated resources")
        self.seen.add(name)
        packed = wrapper.HasField("resource")
        if not packed and wrapper.version == self.kind.state.version(name):
            self.heartbeats.append(self._entry(wrapper))
            return True
        if not packed and wrapper.aliases:
            self.entries.append(self._entry(wrapper))
            return True
        url = wrapper.resource.type_url
        if url != response.type_url:
            raise ConfigError(
                f"type URL {url} embedded in an individual Any does not match the message-wide type URL "
                f"{response.type_url} in DeltaDiscoveryResponse {shown(response)}"
            )
        self.entries.append(self._entry(wrapper))
        return True

    def _entry(self, wrapper: Any) -> Entry:
        return self.mux.decoder(self.kind.type_name).from_wrapper(wrapper, wrapper.version)

    def apply(self, generation_is_current: bool) -> None:
        mux, kind, response = self.mux, self.kind, self.response
        ack = Ack(kind.type_name, response.nonce)
        try:
            mux.distribute(kind, self.entries, list(response.removed_resources), response.system_version_info)
        except ConfigError as error:
            self._refused(ack, error)
        else:
            self._accepted()
        if generation_is_current:
            mux.answer(ack)

    def refuse(self, error: ConfigError, generation_is_current: bool) -> None:
        ack = Ack(self.kind.type_name, self.response.nonce)
        self._refused(ack, error)
        if generation_is_current:
            self.mux.answer(ack)

    def _accepted(self) -> None:
        kind = self.kind
        all_wanted = WILDCARD in kind.state.requested
        for entry in (*self.entries, *self.heartbeats):
            if all_wanted or entry.name in kind.state.requested:
                kind.state.took(entry.name, entry.version)
                kind.ttl.renew(entry.name, entry.ttl_s)
        decoder = self.mux.decoder(kind.type_name)
        for name in self.response.removed_resources:
            kind.state.lost(name)
            kind.ttl.renew(name, None)
            decoder.forget(name)
        kind.ttl.schedule()
        _log.debug(
            "Delta config for %s accepted with %d resources added, %d removed",
            kind.state.type_url,
            len(self.response.resources),
            len(self.response.removed_resources),
        )

    def _refused(self, ack: Ack, error: ConfigError) -> None:
        ack.error = error
        _log.warning("delta config for %s rejected: %s", self.kind.state.type_url, error)
        for watch in list(self.kind.watches):
            watch.user.on_update_failed(UPDATE_REJECTED, str(error))
