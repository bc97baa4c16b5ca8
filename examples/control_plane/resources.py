"""Resources from plain dicts, checked as the proxy itself would check them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from outrider.config import api
from outrider.config.errors import raise_all
from outrider.config.parse import Reader

LISTENER: Final = "envoy.config.listener.v3.Listener"
ROUTE: Final = "envoy.config.route.v3.RouteConfiguration"
SCOPED_ROUTE: Final = "envoy.config.route.v3.ScopedRouteConfiguration"
VIRTUAL_HOST: Final = "envoy.config.route.v3.VirtualHost"
CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
ENDPOINT: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION: Final = "envoy.config.core.v3.TypedExtensionConfig"
RUNTIME: Final = "envoy.service.runtime.v3.Runtime"

# What refers to a resource comes after it, so that nothing points nowhere: make before break.
ORDER: Final = (CLUSTER, ENDPOINT, SECRET, EXTENSION, RUNTIME, LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST)
# Asking for no name means asking for all.
WILDCARD_TYPES: Final = (CLUSTER, LISTENER)

_URL: Final = "type.googleapis.com/"


def type_url(type_name: str) -> str:
    return _URL + type_name


class Resource:
    """One resource: its name, its message as a `google.protobuf.Any`, and what the wrapper around it says."""

    __slots__ = ("aliases", "name", "packed", "ttl_s", "version")

    def __init__(
        self, name: str, packed: Any, version: str, aliases: Sequence[str] = (), ttl_s: float | None = None
    ) -> None:
        self.name = name
        self.packed = packed
        # Of this resource alone, for the incremental form.
        self.version = version
        self.aliases = tuple(aliases)
        self.ttl_s = ttl_s


def message_from(type_name: str, tree: Mapping[str, object]) -> Any:
    """A message from what JSON or YAML would hold. Raises ConfigError(s)."""
    message = api.new(type_name)
    reader = Reader()
    reader.read(dict(tree), message)
    raise_all([fault.error(None, "") for fault in reader.faults])
    return message


def packed_from(type_name: str, content: Mapping[str, object] | bytes) -> Any:
    """A `google.protobuf.Any` from a dict, or from bytes that are taken as they are (to send garbage)."""
    packed: Any = api.new("google.protobuf.Any")
    packed.type_url = type_url(type_name)
    if isinstance(content, bytes):
        packed.value = content
    else:
        packed.value = message_from(type_name, content).SerializeToString(deterministic=True)
    return packed


def name_of(type_name: str, tree: Mapping[str, object]) -> str:
    """The name that a resource gives itself."""
    return str(tree.get("cluster_name" if type_name == ENDPOINT else "name", ""))
