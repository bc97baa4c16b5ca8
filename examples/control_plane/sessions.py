"""The protocol of one stream, without I/O: requests and changes in, responses out.

Source: "xDS REST and gRPC protocol".
"""

from __future__ import annotations

from typing import Any

from examples.control_plane.resources import VIRTUAL_HOST, WILDCARD_TYPES, Resource, type_url
from examples.control_plane.snapshot import SnapshotCache, TypeSnapshot

from outrider.config import api

IDENTIFIER = "example-control-plane"


class _StateType:
    """What one stream wants of a type, and has been sent."""

    __slots__ = ("names", "nonce", "sent", "version", "wants_all")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wants_all = False
        self.nonce = ""
        self.version: str | None = None
        self.sent: set[str] = set()


class StateSession:
    """State of the world. `only`: the one type that the stream's service serves, "" for ADS."""

    def __init__(self, cache: SnapshotCache, only: str = "") -> None:
        self.cache = cache
        self.only = only
        self._types: dict[str, _StateType] = {}
        self._nonces = 0

    def on_request(self, request: Any) -> list[Any]:
        """The responses that a request calls for."""
        type_name = self.only or api.type_name(request.type_url)
        state = self._types.get(type_name)
        if state is None:
            state = self._types[type_name] = _StateType()
        if request.response_nonce and request.response_nonce != state.nonce:
            return []  # about a response that another has overtaken
        names = set(request.resource_names)
        if names:
            state.wants_all = "*" in names
        elif type_name in WILDCARD_TYPES and not state.names:
            state.wants_all = True
        state.names = names
        snapshot = self.cache.get(type_name)
        if state.version != snapshot.version or not names - {"*"} <= state.sent:
            return self._respond(type_name, state, snapshot)
        return []

    def on_change(self, type_name: str) -> list[Any]:
        """The responses that a change of the resources calls for."""
        state = self._types.get(type_name)
        snapshot = self.cache.get(type_name)
        if state is None or state.version == snapshot.version:
            return []
        return self._respond(type_name, state, snapshot)

    def _respond(self, type_name: str, state: _StateType, snapshot: TypeSnapshot) -> list[Any]:
        if state.wants_all:
            found = list(snapshot.resources.values())
        else:
            found = [snapshot.resources[name] for name in sorted(state.names) if name in snapshot.resources]
            if not found:
                return []
        if not snapshot.version:
            return []  # nothing was ever set: there is nothing to say yet
        state.version = snapshot.version
        state.sent = set(state.names)
        self._nonces += 1
        state.nonce = str(self._nonces)
        response: Any = api.new("envoy.service.discovery.v3.DiscoveryResponse")
        response.version_info = snapshot.version
        response.type_url = type_url(type_name)
        response.nonce = state.nonce
        response.control_plane.identifier = IDENTIFIER
        for resource in found:
            if resource.ttl_s is None and not resource.aliases:
                response.resources.append(resource.packed)
            else:
                packed = response.resources.add()
                packed.type_url = type_url("envoy.service.discovery.v3.Resource")
                packed.value = wrapped(resource).SerializeToString()
        return [response]


class _DeltaType:
    """What one stream wants of a type, and which versions it has."""

    __slots__ = ("before", "known", "names", "wants_all")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wants_all = False
        self.known: dict[str, str] = {}
        # By the nonces of responses that have not been acknowledged: what the client had before.
        self.before: dict[str, dict[str, str]] = {}


class DeltaSession:
    """Incremental. `only`: the one type that the stream's service serves, "" for ADS."""

    def __init__(self, cache: SnapshotCache, only: str = "") -> None:
        self.cache = cache
        self.only = only
        self._types: dict[str, _DeltaType] = {}
        self._nonces = 0

    def on_request(self, request: Any) -> list[Any]:
        """The responses that a request calls for."""
        type_name = self.only or api.type_name(request.type_url)
        state = self._types.get(type_name)
        first = state is None
        if state is None:
            state = self._types[type_name] = _DeltaType()
            state.known = dict(request.initial_resource_versions)
            state.wants_all = not request.resource_names_subscribe
        before = state.before.pop(request.response_nonce, None)
        if before is not None and request.HasField("error_detail"):
            # Refused as a whole: all of it is still to be told, when the next change comes.
            state.known = before
        subscribed = set(request.resource_names_subscribe)
        if "*" in subscribed:
            state.wants_all = True
        for name in request.resource_names_unsubscribe:
            state.names.discard(name)
            state.known.pop(name, None)
            if name == "*":
                state.wants_all = False
        # What is subscribed to (again) is sent even if it has not changed.
        for name in subscribed - state.names if not first else ():
            state.known.pop(name, None)
        state.names |= subscribed - {"*"}
        if not first and not subscribed:
            return []
        return self._respond(type_name, state, subscribed - {"*"}, first)

    def on_change(self, type_name: str) -> list[Any]:
        """The responses that a change of the resources calls for."""
        state = self._types.get(type_name)
        return self._respond(type_name, state, set(), False) if state is not None else []

    def _respond(self, type_name: str, state: _DeltaType, asked: set[str], first: bool) -> list[Any]:
        snapshot = self.cache.get(type_name)
        if not snapshot.version and not asked:
            return []
        response: Any = api.new("envoy.service.discovery.v3.DeltaDiscoveryResponse")
        by_alias = {alias: each for each in snapshot.resources.values() for alias in each.aliases}
        sent: set[str] = set()
        before = dict(state.known)
        if state.wants_all:
            wanted = list(snapshot.resources.values())
        else:
            found = (snapshot.resources.get(name) or by_alias.get(name) for name in sorted(state.names))
            wanted = [each for each in found if each is not None]
        for resource in wanted:
            if state.known.get(resource.name) != resource.version and resource.name not in sent:
                sent.add(resource.name)
                state.known[resource.name] = resource.version
                response.resources.append(wrapped(resource))
        for name in sorted(set(state.known) - set(snapshot.resources)):
            del state.known[name]
            response.removed_resources.append(name)
        for name in sorted(asked):
            if name in snapshot.resources or name in by_alias or name in response.removed_resources:
                continue
            if type_name == VIRTUAL_HOST:
                # Nothing stands behind this alias.
                response.resources.add(name=name, aliases=[name])
            else:
                response.removed_resources.append(name)
        if not response.resources and not response.removed_resources and not (first and state.wants_all):
            return []
        self._nonces += 1
        response.nonce = str(self._nonces)
        state.before[response.nonce] = before
        response.system_version_info = snapshot.version
        response.type_url = type_url(type_name)
        response.control_plane.identifier = IDENTIFIER
        return [response]


def wrapped(resource: Resource) -> Any:
    """A resource in its wrapper."""
    wrapper: Any = api.new("envoy.service.discovery.v3.Resource")
    wrapper.name = resource.name
    wrapper.version = resource.version
    wrapper.aliases.extend(resource.aliases)
    wrapper.resource.CopyFrom(resource.packed)
    if resource.ttl_s is not None:
        wrapper.ttl.FromNanoseconds(int(resource.ttl_s * 1e9))
    return wrapper
