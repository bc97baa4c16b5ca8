"""/healthcheck, /quitquitquit, /reset_counters, /reopen_logs, /logging, /drain_listeners."""

from __future__ import annotations

from outrider.server.admin.request import AdminRequest, AdminResponse, ok
from outrider.server.admin.state import AdminState
from outrider.server.options import LOG_LEVELS, LOGGER_NAMES

LOGGING_USAGE = (
    "usage: /logging?<name>=<level> (change single level)\n"
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n"
    "usage: /logging?level=<level> (change all levels)\n"
    "usage: /logging?group=<group_name>:<level> (change group of loggers)\n"
    f"levels: {' '.join(LOG_LEVELS)} \n"
)


class LoggingError(Exception):
    """Levels cannot be changed as asked; the text is for the user."""


class ControlHandlers:
    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def fail_health_check(self, request: AdminRequest) -> AdminResponse:
        self.state.fail_health_check(True)
        return ok()

    async def pass_health_check(self, request: AdminRequest) -> AdminResponse:
        self.state.fail_health_check(False)
        return ok()

    async def quit(self, request: AdminRequest) -> AdminResponse:
        self.state.quit()
        return ok()

    async def reset_counters(self, request: AdminRequest) -> AdminResponse:
        # What the workers have counted so far belongs to the time before.
        await self.state.collect_stats()
        self.state.store.reset_counters()
        return ok()

    async def reopen_logs(self, request: AdminRequest) -> AdminResponse:
        self.state.reopen_logs()
        return ok()

    async def drain_listeners(self, request: AdminRequest) -> AdminResponse:
        self.state.drain_listeners(request.flag("graceful"), request.flag("inboundonly"), request.flag("skip_exit"))
        return ok()

    async def logging(self, request: AdminRequest) -> AdminResponse:
        status, head = 200, ""
        try:
            self._change_levels(request)
        except LoggingError as error:
            status, head = 400, f"error: {error}\n\n{LOGGING_USAGE}"
        levels = self.state.log_levels()
        lines = "".join(f"  {name}: {levels[name]}\n" for name in LOGGER_NAMES)
        return AdminResponse(f"{head}active loggers:\n{lines}\n", status)

    def _change_levels(self, request: AdminRequest) -> None:
        params = request.params
        if not params:
            return
        if len(params) > 1:
            # An empty parameter is what a form sends for a field that was left out.
            params = {name: value for name, value in params.items() if value}
            if not params:
                return
            if len(params) > 1:
                raise LoggingError("invalid number of parameters")
        ((name, value),) = params.items()
        if name == "group":
            raise LoggingError("group parameter requires fine-grain logging to be enabled")
        if name == "level":
            if value:
                self.state.set_log_levels(dict.fromkeys(LOGGER_NAMES, read_level(value)))
            return
        if name == "paths":
            if not value:
                return
            changes = {}
            for part in value.split(","):
                logger, _, level = part.partition(":")
                if not logger or not level:
                    raise LoggingError("empty logger name or empty logger level")
                changes[known_logger(logger)] = read_level(level)
            self.state.set_log_levels(changes)
            return
        level = read_level(value)
        self.state.set_log_levels({known_logger(name): level})


def read_level(text: str) -> str:
    level = "warning" if text == "warn" else text
    if level not in LOG_LEVELS:
        raise LoggingError("unknown logger level")
    return level


def known_logger(name: str) -> str:
    if name not in LOGGER_NAMES:
        raise LoggingError("unknown logger name")
    return name
