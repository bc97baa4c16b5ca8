"""What main and its workers have in common: made once, before workers are forked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.data.shared_limit import SharedArena
    from outrider.factory_context import ServerInfo
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.log import ApplicationLog
    from outrider.server.options import Options


class ServerPlan:
    """Command line, checked configuration, shared memory."""

    __slots__ = ("options", "view", "settings", "info", "log", "arena", "workers", "start_time_s")

    def __init__(
        self,
        options: Options,
        view: View,
        settings: BootstrapSettings,
        info: ServerInfo,
        log: ApplicationLog,
        arena: SharedArena,
        start_time_s: float,
    ) -> None:
        self.options = options
        self.view = view
        self.settings = settings
        self.info = info
        self.log = log
        self.arena = arena
        # Worker processes; 0: one worker inline.
        self.workers: int = options.worker_count()
        # Unix time at which the process started.
        self.start_time_s = start_time_s
