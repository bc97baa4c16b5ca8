"""Main's listeners and the workers: who is sent which sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.network.listen_socket import ListenSocket
from outrider.server import messages
from outrider.server.listener_entry import ListenerEntry
from outrider.server.listener_manager import MainListeners
from outrider.server.listener_wire import ListenerWorkers, bound, listener_message

if TYPE_CHECKING:
    from outrider.server.main_process import MainProcess
    from outrider.server.supervisor import WorkerHandle


class WorkerListenerLink(ListenerWorkers):
    """The real one, over the channels."""

    def __init__(self, main: MainProcess) -> None:
        self.main = main

    def tell(self, kind: str, payload: Any) -> None:
        self.main.send(kind, payload)

    def tell_listener(self, entry: ListenerEntry) -> None:
        self.main.send_rows()
        for handle in self.main.supervisor.started():
            send_listener(handle, entry)


def send_listener(handle: WorkerHandle, entry: ListenerEntry) -> None:
    """A listener, with the sockets that this worker is to accept from."""
    descriptors = [each.descriptor(handle.index) for each in bound(entry)]
    handle.send(messages.LISTENER, listener_message(entry), descriptors)


def static_sockets(listeners: MainListeners) -> dict[int, list[ListenSocket]]:
    """What workers inherit when they are forked, by the number of the listener."""
    return {entry.number: entry.sockets for entry in listeners.active.values() if not entry.added_via_api}
