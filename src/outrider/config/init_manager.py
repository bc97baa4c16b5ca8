"""What must be there before something may serve: targets that become ready one by one.

The server has one manager (clusters, listeners' first routes), and each listener that warms has its own.
Source: Envoy documentation, "Initialization"; `Init::Manager`.
"""

from __future__ import annotations

from collections.abc import Callable


class InitTarget:
    """One thing that is waited for. `ready()` may be called before, at, or after `start`; once is enough."""

    __slots__ = ("_manager", "is_ready", "name", "on_start", "started")

    def __init__(self, name: str, on_start: Callable[[], None]) -> None:
        # As `/init_dump` shows it.
        self.name = name
        self.on_start = on_start
        self.is_ready = False
        self.started = False
        self._manager: InitManager | None = None

    def start(self) -> None:
        """Begin the work, once."""
        if not self.started:
            self.started = True
            self.on_start()

    def ready(self) -> None:
        """Nobody need wait for this any more."""
        if self.is_ready:
            return
        self.is_ready = True
        if self._manager is not None:
            self._manager.check()


class InitManager:
    """Starts its targets together and tells when all are ready."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.targets: list[InitTarget] = []
        self.initialized = False
        self._started = False
        self._starting = False
        self._on_initialized: Callable[[], None] | None = None

    def add(self, target: InitTarget) -> None:
        """A further target; started at once when the manager has been started already."""
        target._manager = self
        self.targets.append(target)
        if self._started:
            target.start()

    def initialize(self, on_initialized: Callable[[], None]) -> None:
        """Start all targets. `on_initialized` is called once, perhaps before this returns."""
        self._on_initialized = on_initialized
        self._started = True
        self._starting = True
        for target in list(self.targets):
            target.start()
        self._starting = False
        self.check()

    def cancel(self) -> None:
        """Nobody waits any more (the listener that warmed was replaced)."""
        self._on_initialized = None

    def unready(self) -> list[str]:
        """Names of the targets that are still waited for."""
        return [target.name for target in self.targets if not target.is_ready]

    def check(self) -> None:
        """Tell, if all are ready."""
        if not self._started or self._starting or self.initialized:
            return
        if all(target.is_ready for target in self.targets):
            self.initialized = True
            callback = self._on_initialized
            self._on_initialized = None
            if callback is not None:
                callback()
