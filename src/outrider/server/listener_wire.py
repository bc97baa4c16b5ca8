"""What main tells the workers of its listeners."""

from __future__ import annotations

from typing import Any

from outrider.network.listen_socket import ListenSocket
from outrider.server.listener_entry import ListenerEntry
from outrider.upstream.hosts_update import plain_address


class ListenerWorkers:
    """The workers, as far as listeners are concerned. This one has none (validation)."""

    def tell(self, kind: str, payload: Any) -> None:
        """Send a message to all that have been started."""

    def tell_listener(self, entry: ListenerEntry) -> None:
        """Send `listener_message(entry)`, to each worker with its own sockets."""


def listener_message(entry: ListenerEntry, replaced: int = -1) -> Any:
    """The payload of LISTENER; its descriptors are those of `bound(entry)`, unless it is an update in place."""
    addresses = []
    if replaced < 0:
        addresses = [(plain_address(each.address), each.settings.backlog) for each in bound(entry)]
    return entry.number, entry.packed, replaced, addresses


def bound(entry: ListenerEntry) -> list[ListenSocket]:
    return [each for each in entry.sockets if each.sockets]
