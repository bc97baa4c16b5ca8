"""Dynamic clusters and listeners as messages of `envoy.admin.v3`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.config import api

if TYPE_CHECKING:
    from outrider.server.lds import ListenerFailure
    from outrider.server.listener_entry import ListenerEntry
    from outrider.upstream.control.cluster_entry import ClusterEntry

CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
LISTENER: Final = "envoy.config.listener.v3.Listener"


class DynamicClusters:
    """What CDS gave."""

    __slots__ = ("active", "version_info", "warming")

    def __init__(self) -> None:
        self.version_info: str = ""
        self.active: list[ClusterEntry] = []
        self.warming: list[ClusterEntry] = []


class DynamicListeners:
    """What LDS gave, and what was wrong with the last update."""

    __slots__ = ("active", "draining", "failures", "version_info", "warming")

    def __init__(self) -> None:
        self.version_info: str = ""
        self.active: list[ListenerEntry] = []
        self.warming: list[ListenerEntry] = []
        self.draining: list[ListenerEntry] = []
        self.failures: list[ListenerFailure] = []


def pack(field: Any, message: Any) -> None:
    """Put a message into an Any."""
    pack_bytes(field, message.DESCRIPTOR.full_name, message.SerializeToString(deterministic=True))


def pack_bytes(field: Any, type_name: str, packed: bytes) -> None:
    """Put a serialized message into an Any."""
    field.type_url = f"{api.TYPE_URL_PREFIX}{type_name}"
    field.value = packed


def stamp(field: Any, seconds: float) -> None:
    """A Timestamp, to the millisecond as Envoy's."""
    field.seconds = int(seconds)
    field.nanos = int(seconds * 1000) % 1000 * 1_000_000


def matches(pattern: Any, name: str) -> bool:
    return pattern is None or pattern.fullmatch(name) is not None


def fill_clusters(dump: Any, dynamic: DynamicClusters, pattern: Any) -> None:
    """Into a ClustersConfigDump."""
    dump.version_info = dynamic.version_info
    for entries, field in ((dynamic.active, "dynamic_active_clusters"), (dynamic.warming, "dynamic_warming_clusters")):
        for entry in entries:
            if matches(pattern, entry.info.name):
                shown = getattr(dump, field).add()
                shown.version_info = entry.version_info
                pack_bytes(shown.cluster, CLUSTER, entry.packed)
                stamp(shown.last_updated, entry.last_updated_s)


def fill_listeners(dump: Any, dynamic: DynamicListeners, pattern: Any) -> None:
    """Into a ListenersConfigDump."""
    dump.version_info = dynamic.version_info
    shown: dict[str, Any] = {}
    for entries, field in (
        (dynamic.active, "active_state"),
        (dynamic.warming, "warming_state"),
        (dynamic.draining, "draining_state"),
    ):
        for entry in entries:
            if not matches(pattern, entry.name):
                continue
            listener = _named(dump, shown, entry.name)
            state = getattr(listener, field)
            state.version_info = entry.version_info
            pack_bytes(state.listener, LISTENER, entry.packed)
            stamp(state.last_updated, entry.last_updated_s)
    failures = [failure for failure in dynamic.failures if matches(pattern, failure.name)]
    for failure in failures:
        error = _named(dump, shown, failure.name).error_state
        _fill_error(error, failure)
        stamp(error.last_update_attempt, failure.time_s)
    for failure in failures:
        # Envoy lists the faults of the last update once more, without names.
        _fill_error(dump.dynamic_listeners.add().error_state, failure)


def _named(dump: Any, shown: dict[str, Any], name: str) -> Any:
    listener = shown.get(name)
    if listener is None:
        listener = shown[name] = dump.dynamic_listeners.add()
        listener.name = name
    return listener


def _fill_error(error: Any, failure: ListenerFailure) -> None:
    pack_bytes(error.failed_configuration, LISTENER, failure.packed)
    error.details = failure.details
