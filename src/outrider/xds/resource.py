"""What a config source sends, unpacked and checked: `Resource`s, and what only the protocol needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import xxhash
from google.protobuf.message import DecodeError, Message

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.load import LoadPolicy, verify
from outrider.config.subscription import Resource
from outrider.config.view import View
from outrider.stats.metrics import Counter
from outrider.xds import api_types
from outrider.xds.api_types import RESOURCE_WRAPPER, name_field

_KINDS: Final = 10_000
"""Kinds of unknown fields that are remembered."""
_WRAPPER_SUFFIX: Final = "/" + RESOURCE_WRAPPER


class DynamicPolicy(LoadPolicy):
    """Unknown fields of resources: warned of and counted once for each kind, refused
    (`--reject-unknown-dynamic-fields`), or passed over (`--ignore-unknown-dynamic-fields`)."""

    __slots__ = ("_seen", "counter", "ignore")

    def __init__(self, reject: bool, ignore: bool, counter: Counter) -> None:
        """`counter`: `server.dynamic_unknown_fields`."""
        super().__init__(not reject)
        self.ignore = ignore
        self.counter = counter
        self._seen: set[str] = set()

    def notes_unknown(self, text: str) -> bool:
        if self.ignore or text in self._seen:
            return False
        if len(self._seen) < _KINDS:
            self._seen.add(text)
        self.counter.inc()
        return True


class Entry:
    """One element of a response. `resource` None: a heartbeat, or an alias that the server knows nothing for."""

    __slots__ = ("aliases", "name", "resource", "ttl_s", "version")

    def __init__(
        self, name: str, version: str, ttl_s: float | None, aliases: Sequence[str], resource: Resource | None
    ) -> None:
        self.name = name
        self.version = version
        # Seconds after which the resource is to be dropped unless it is renewed; None = never.
        self.ttl_s = ttl_s
        self.aliases = tuple(aliases)
        self.resource = resource


class ResourceDecoder:
    """Unpacks the resources of one type.

    A resource that is the same as the last one of its name is not checked again: most of a state-of-the-world answer is
    what the one before was.
    """

    __slots__ = ("_checked", "_class", "_kind", "_name_field", "policy", "type_name", "type_url")

    def __init__(self, type_name: str, policy: LoadPolicy) -> None:
        """Raises KeyError when the API has no such type."""
        self.type_name = type_name
        self.type_url = api_types.type_url(type_name)
        self.policy = policy
        self._class: type[Message] = api.message_class(type_name)
        self._name_field = name_field(type_name)
        self._kind = type_name.rpartition(".")[2]
        # Digests of what was found good, by name.
        self._checked: dict[str, int] = {}

    def from_any(self, packed: Any, version: str) -> Entry:
        """What a `google.protobuf.Any` holds: the resource, or the wrapper around one. Raises ConfigError."""
        if packed.type_url.endswith(_WRAPPER_SUFFIX):
            wrapper: Any = api.new(RESOURCE_WRAPPER)
            try:
                wrapper.ParseFromString(packed.value)
            except DecodeError:
                raise ConfigError(f"Unable to unpack as {RESOURCE_WRAPPER}: {packed.value[:64]!r}") from None
            # As Envoy: the version of a wrapped resource is that of the response.
            return self.from_wrapper(wrapper, version)
        resource = self.decode(packed.value, None, version, ())
        return Entry(resource.name, version, None, (), resource)

    def from_wrapper(self, wrapper: Any, version: str) -> Entry:
        """What an `envoy.service.discovery.v3.Resource` says. Raises ConfigError."""
        ttl = wrapper.ttl.seconds + wrapper.ttl.nanos / 1e9 if wrapper.HasField("ttl") else None
        resource = None
        if wrapper.HasField("resource"):
            resource = self.decode(wrapper.resource.value, wrapper.name, version, wrapper.aliases)
        return Entry(wrapper.name, version, ttl, wrapper.aliases, resource)

    def decode(self, packed: bytes, name: str | None, version: str, aliases: Sequence[str]) -> Resource:
        """A resource from its serialized message; `name` None: the message says it. Raises ConfigError(s)."""
        message: Any = self._class()
        try:
            message.ParseFromString(packed)
        except DecodeError:
            raise ConfigError(f"Unable to unpack as {self.type_name}: {packed[:64]!r}", name or None) from None
        return self.decoded(message, packed, name, version, aliases)

    def decoded(
        self,
        message: Any,
        packed: bytes,
        name: str | None,
        version: str,
        aliases: Sequence[str] = (),
        binary: bool = True,
    ) -> Resource:
        """A resource from a message that has been parsed. Raises ConfigError(s)."""
        own = getattr(message, self._name_field) if self._name_field else ""
        if name is None:
            name = own
        path = f"{self._kind}[{own or name}]"
        digest = xxhash.xxh3_64_intdigest(packed)
        if self._checked.get(name) != digest:
            verify(message, self.policy, path, binary=binary)
            self._checked[name] = digest
        return Resource(name, version, self.type_name, packed, View(message, path), aliases)

    def forget(self, name: str) -> None:
        """A resource is gone."""
        self._checked.pop(name, None)

    def keep_only(self, names: set[str]) -> None:
        """All resources but these are gone."""
        if len(self._checked) > len(names):
            self._checked = {name: digest for name, digest in self._checked.items() if name in names}


def resource_of(packed: Any, version: str, type_name: str, policy: LoadPolicy) -> Resource:
    """The resource in a `google.protobuf.Any`, wrapped or not. Raises ConfigError(s): it is malformed, or empty."""
    entry = ResourceDecoder(type_name, policy).from_any(packed, version)
    if entry.resource is None:
        raise ConfigError("holds no resource", entry.name)
    return entry.resource
