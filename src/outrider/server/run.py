"""From a command line to an exit code: load, check, bind, fork, serve."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from outrider.config.errors import ConfigError
from outrider.network.listen_socket import BindError
from outrider.server.log import ApplicationLog
from outrider.server.log_pattern import JsonPattern, Pattern
from outrider.server.options import Options

if TYPE_CHECKING:
    from outrider.config.runtime_layers import RuntimeLoader
    from outrider.event.dispatcher import Dispatcher
    from outrider.server.admin.server import AdminServer
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.listener_manager import MainListeners
    from outrider.server.listener_manager_stats import ListenerManagerStats
    from outrider.server.proxy import Proxy

_main_log: Final = logging.getLogger("outrider.main")
_config_log: Final = logging.getLogger("outrider.config")


class Startup:
    """A checked configuration with main's half built, before anything is bound or forked."""

    def __init__(self, options: Options, log: ApplicationLog) -> None:
        """Raises ConfigError for anything wrong with the configuration."""
        from outrider.config.bootstrap import load_bootstrap
        from outrider.config.load import LoadPolicy
        from outrider.config.runtime_layers import RuntimeLoader
        from outrider.config.support import SupportPolicy
        from outrider.data.shared_limit import SharedArena
        from outrider.event.dispatcher import Dispatcher
        from outrider.server.bootstrap import BootstrapSettings
        from outrider.server.listener_manager import MainListeners
        from outrider.server.listener_manager_stats import ListenerManagerStats
        from outrider.server.plan import ServerPlan
        from outrider.server.proxy import Proxy
        from outrider.server.worker import HEARTBEAT_ROW
        from outrider.stats.store import Store

        start_time_s = time.time()
        policy = LoadPolicy(allow_unknown=options.allow_unknown_static_fields)
        view = load_bootstrap(options.config_path or None, options.config_yaml or None, policy)
        self.load_policy = policy
        settings: BootstrapSettings = BootstrapSettings(view, options)
        if settings.log_format is not None:
            if options.log_format_set:
                raise view.error(
                    "Only one of ApplicationLogConfig.log_format or CLI option --log-format can be specified.",
                    "application_log_config",
                )
            log.set_pattern(read_pattern(settings.log_format))
        disable_extensions(options)
        info = settings.server_info(options)
        info.start_time = start_time_s
        self.plan = ServerPlan(
            options, view, settings, info, log, SharedArena(max(options.worker_count(), 1)), start_time_s
        )
        self.plan.arena.row(HEARTBEAT_ROW)
        # Main gets its loop only after the template has been forked.
        self.dispatcher: Dispatcher = Dispatcher("main_thread", cast(Any, None))
        store = Store(settings.stats.policy)
        self.runtime: RuntimeLoader = RuntimeLoader(settings.runtime_layers, store)
        self.manager_stats: ListenerManagerStats = ListenerManagerStats(store)
        arena = self.plan.arena if self.plan.workers > 1 else None
        _config_log.info("loading %d static secret(s)", len(settings.secrets))
        _config_log.info("loading %d cluster(s)", len(settings.clusters))
        _config_log.info("loading %d listener(s)", len(settings.listeners))
        self.proxy: Proxy = Proxy(
            options, settings, info, store, self.dispatcher, self.runtime.runtime, arena, 0, True
        )
        self.listeners: MainListeners = MainListeners(self.proxy.listeners, self.manager_stats, self.proxy.context)
        assert self.proxy.discovery is not None
        self.proxy.discovery.add_lds(self.listeners)
        self.proxy.discovery.add_runtime(self.runtime)
        self.admin: AdminServer | None = None
        if settings.admin is not None:
            from outrider.server.admin.server import AdminServer

            self.admin = AdminServer(settings.admin, self.proxy.context)
        SupportPolicy("warn" if options.unsupported == "warn" else "reject").check(view)
        if settings.max_downstream_connections is None and not self.runtime.runtime.has(
            "overload.global_downstream_max_connections"
        ):
            _main_log.info(
                "There is no configured limit to the number of allowed active downstream connections. Configure a "
                "limit in `envoy.resource_monitors.global_downstream_max_connections` resource monitor."
            )

    def bind(self) -> None:
        """Open and bind every socket. Raises BindError; nothing stays open then."""
        if self.admin is not None:
            self.admin.bind()
        try:
            self.listeners.open(self.plan.workers)
        except BindError:
            if self.admin is not None:
                self.admin.close()
            raise


def load(options: Options, log: ApplicationLog) -> Startup:
    """Raises ConfigError. Nearly all that loading makes stays: collecting garbage meanwhile would double its time."""
    gc.disable()
    try:
        return Startup(options, log)
    finally:
        gc.enable()


def read_pattern(log_format: object) -> Pattern | JsonPattern:
    """The pattern of `application_log_config`. Raises ConfigError."""
    if isinstance(log_format, dict):
        try:
            return JsonPattern(log_format)
        except ValueError as error:
            raise ConfigError(str(error), "application_log_config.log_format.json_format") from None
    return Pattern(str(log_format))


def disable_extensions(options: Options) -> None:
    """`--disable-extensions`: configuration that names one of these is refused."""
    if not options.disabled_extensions:
        return
    from outrider.extensions.all_extensions import load_extensions
    from outrider.registry import CATEGORIES

    load_extensions()
    for name in options.disabled_extensions:
        category, slash, extension = name.partition("/")
        registry = CATEGORIES.get(category)
        if not slash or registry is None or not registry.disable(extension):
            _main_log.warning("failed to disable unknown extension '%s'", name)


def serve(options: Options, on_live: Callable[[], object] | None = None) -> int:
    """Run until told to end. Errors are shown in one message; nothing is bound then.

    `on_live` is called when requests are served.
    """
    try:
        log = ApplicationLog(options)
    except OSError as error:
        return fail(f"Failed to open log-file '{options.log_path}': {error.strerror}")
    _main_log.info(
        "initializing epoch %d (base id=%d, hot restart version=disabled)", options.restart_epoch, options.base_id
    )
    try:
        startup = load(options, log)
        startup.bind()
    except (ConfigError, BindError) as error:
        _main_log.debug("error initializing config '%s': %s", options.config_path, error)
        return fail(str(error))
    return run(startup, on_live)


def run(startup: Startup, on_live: Callable[[], object] | None = None) -> int:
    """Fork the template, make the loop, serve."""
    import asyncio

    from outrider.event.dispatcher import new_event_loop
    from outrider.server.listener_link import static_sockets
    from outrider.server.main_process import MainProcess
    from outrider.server.template import Template, name_process
    from outrider.server.worker import run_worker

    plan = startup.plan
    sockets = static_sockets(startup.listeners)
    template = None
    if plan.workers > 0:

        def worker_main(index: int, channel: Any) -> None:
            if startup.admin is not None:
                startup.admin.release()
            run_worker(plan, sockets, index, channel)

        template = Template.start(worker_main)
    name_process("outrider")
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    startup.dispatcher.attach(loop)

    async def body() -> int:
        main = MainProcess(
            plan, startup.proxy, startup.listeners, startup.manager_stats, startup.runtime, startup.dispatcher, template
        )
        main.on_live = on_live
        main.stats.static_unknown_fields.add(startup.load_policy.unknown_fields)
        main.stats.wip_protos.add(startup.load_policy.work_in_progress)
        if startup.admin is not None:
            await startup.admin.start(main)
            write_address(plan.options.admin_address_path, startup.admin.address_text())
        write_address(plan.options.base_id_path, str(plan.options.base_id))
        try:
            return await main.run()
        finally:
            if startup.admin is not None:
                startup.admin.close()

    try:
        return loop.run_until_complete(body())
    finally:
        loop.close()


def write_address(path: str, text: str) -> None:
    """`--admin-address-path`, `--base-id-path`."""
    if not path:
        return
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        _main_log.critical("cannot write to '%s': %s", path, error.strerror)


def validate(options: Options) -> int:
    """`--mode validate`."""
    try:
        log = ApplicationLog(options)
        load(options, log)
    except OSError as error:
        return fail(f"Failed to open log-file '{options.log_path}': {error.strerror}")
    except ConfigError as error:
        return fail(f"error initializing configuration '{options.config_path}': {error}")
    print(f"configuration '{options.config_path}' OK")
    return 0


def choose_base_id(options: Options) -> None:
    """`--use-dynamic-base-id`: any will do, as no other process is talked to; ours is unique on this host."""
    if options.use_dynamic_base_id:
        options.base_id = os.getpid()


def enable_core_dumps() -> None:
    """`--enable-core-dump`: PR_SET_DUMPABLE."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(4, 1, 0, 0, 0)


def fail(message: str) -> int:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    return 1
