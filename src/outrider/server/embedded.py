"""`outrider.Server`: the proxy inside another Python program, on that program's event loop.

    async with Server(config) as server:
        host, port = server.address("listener_0")

Main and one worker share the loop; nothing is forked, no signal handler is installed, and the log goes to the standard
library's loggers below `outrider` as the program has set them up.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from outrider.data.address import KIND_PIPE, Address
from outrider.server.log import ApplicationLog
from outrider.server.log_pattern import JsonPattern, Pattern
from outrider.server.options import LOGGER_NAMES, Options

if TYPE_CHECKING:
    from outrider.server.main_process import MainProcess
    from outrider.server.run import Startup

START_TIMEOUT_S: Final = 30.0


class EmbeddedLog(ApplicationLog):
    """Leaves the loggers to the program."""

    def __init__(self) -> None:
        self.levels = dict.fromkeys(LOGGER_NAMES, "info")

    def set_pattern(self, pattern: Pattern | JsonPattern) -> None:
        """`application_log_config` is the program's business here."""

    def reopen(self) -> None:
        """There is no file of ours."""

    def close(self) -> None:
        """Nor a handler."""


class Server:
    """One proxy. Create, `await start()`, use, `await stop()`; or `async with`."""

    def __init__(
        self,
        config: str | Path | dict[str, Any],
        *,
        service_node: str = "",
        service_cluster: str = "",
        allow_unknown_fields: bool = False,
        warn_unsupported: bool = False,
    ) -> None:
        """`config` is the path of a bootstrap file (Path), its text in YAML or JSON (str), or its tree (dict)."""
        options = Options()
        options.concurrency = 0
        if isinstance(config, Path):
            options.config_path = str(config)
        else:
            options.config_yaml = json.dumps(config) if isinstance(config, dict) else config
        options.service_node = service_node
        options.service_cluster = service_cluster
        options.allow_unknown_static_fields = allow_unknown_fields
        options.unsupported = "warn" if warn_unsupported else "reject"
        self.options = options
        self._startup: Startup | None = None
        self._main: MainProcess | None = None

    async def start(self) -> None:
        """Load, bind and serve. Raises ConfigError or BindError, with nothing bound then."""
        from outrider.server.main_process import MainProcess
        from outrider.server.run import Startup

        startup = Startup(self.options, EmbeddedLog())
        startup.bind()
        startup.dispatcher.attach(asyncio.get_running_loop())
        main = MainProcess(
            startup.plan, startup.proxy, startup.listeners, startup.manager_stats, startup.runtime,
            startup.dispatcher, None,
        )  # fmt: skip
        live = asyncio.Event()
        main.on_live = live.set
        self._startup, self._main = startup, main
        try:
            if startup.admin is not None:
                await startup.admin.start(main)
            await main.start()
            await asyncio.wait_for(live.wait(), START_TIMEOUT_S)
            await main.serving()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything. Safe to call twice."""
        main, startup = self._main, self._startup
        self._main = self._startup = None
        if startup is not None and startup.admin is not None:
            startup.admin.close()
        if main is not None:
            await main.stop()
        # One turn of the loop, for the closing of connections.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def address(self, listener: str) -> tuple[str, int]:
        """Host and port of a listener; the path and 0 for a Unix socket. Raises KeyError."""
        for name, bound in self._running().listeners.addresses():
            if name == listener:
                return _plain(bound[0])
        raise KeyError(listener)

    @property
    def listeners(self) -> dict[str, tuple[str, int]]:
        """Name to address of every listener (the first one of several)."""
        return {name: _plain(bound[0]) for name, bound in self._running().listeners.addresses()}

    @property
    def admin_address(self) -> tuple[str, int] | None:
        startup = self._startup
        if startup is None or startup.admin is None or startup.admin.socket is None:
            return None
        return _plain(startup.admin.socket.address)

    async def stats(self, prefix: str = "") -> dict[str, int]:
        """Counters and gauges whose names begin with `prefix`."""
        main = self._running()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        main.collect_stats(lambda: done.set_result(None))
        await done
        main.refresh_gauges()
        found = {name: counter.value for name, counter in main.store.counters.items() if name.startswith(prefix)}
        found.update({name: gauge.total() for name, gauge in main.store.gauges.items() if name.startswith(prefix)})
        return found

    def modify_runtime(self, **values: str) -> None:
        """Set values of the admin layer; `_` stands for itself, so dotted keys are given as `**{"a.b": "1"}`."""
        self._running().runtime.modify(values)

    def _running(self) -> MainProcess:
        if self._main is None:
            raise RuntimeError("the server is not running")
        return self._main

    def __repr__(self) -> str:
        return f"<Server {'running' if self._main is not None else 'stopped'}>"


def _plain(address: Address) -> tuple[str, int]:
    return (address.host, 0) if address.kind == KIND_PIPE else (address.host, address.port)

