"""What overload actions do to a worker's listeners.

`stop_accepting_connections`: new connections stay in the kernel's queue. `reduce_timeouts`: connections there are look
at their idle timeouts anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.overload.state import FULL, OverloadObserver, OverloadState

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher
    from outrider.server.worker_listeners import WorkerListeners


class ListenerPause(OverloadObserver):
    """Pauses and resumes a worker's listeners, all but those that bypass the overload manager."""

    def __init__(self, listeners: WorkerListeners, dispatcher: Dispatcher) -> None:
        self.listeners = listeners
        self.dispatcher = dispatcher
        self.paused = False
        self.reduced = 0

    def on_overload_changed(self, state: OverloadState) -> None:
        if state.reduce_timeouts != self.reduced:
            self.reduced = state.reduce_timeouts
            for listener in self.listeners.listeners.values():
                for active in list(listener.connections.values()):
                    active.connection.tell_overload_changed()
        stop = state.stop_accepting_connections >= FULL
        if stop == self.paused:
            return
        self.paused = stop
        for listener in self.listeners.listeners.values():
            if listener.config.bypass_overload_manager:
                continue
            if stop:
                listener.pause()
            else:
                self.dispatcher.spawn(listener.resume())
