"""Filters written as Python classes in the user's own package, named in the configuration.

    typed_config:
      "@type": type.googleapis.com/xds.type.v3.TypedStruct
      type_url: outrider.python
      value: {module: "my_package.filters:MyFilter", config: {any: thing}}

An installed package may register its filters instead, as entry points of the group `outrider.filters`; they are
then named by `filter: name` in place of `module`.

The class derives from HttpFilter, NetworkFilter, ListenerFilter or UdpListenerFilter and takes `config` (a dict) as its
only argument. An HTTP filter's hooks may be `async def`: the request waits, buffered within the usual limit, until they
return; so may those of network filters. A hook that raises ends its stream with a 500 (HTTP) or its connection, adds to
`python_filter.<name>.errors`, and is logged with the filter's name; the proxy lives on. See docs/extending.md.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from outrider.data.header_map import HeaderMap
from outrider.http.filter import (
    DATA_STOP_NO_BUFFER,
    HEADERS_STOP_ALL_AND_BUFFER,
    HEADERS_STOP_ITERATION,
    TRAILERS_STOP,
    HttpFilter,
    HttpFilterFactory,
)
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.network.connection import STATE_OPEN
from outrider.network.filter import CLOSE_NO_FLUSH, STOP, NetworkFilter
from outrider.network.filter_registry import NETWORK_FILTERS, NetworkFilterFactory
from outrider.network.listener_filter import (
    LISTENER_FILTERS,
    ListenerFilter,
    ListenerFilterChain,
    ListenerFilterFactory,
)
from outrider.network.udp_filter import UDP_LISTENER_FILTERS, Peer, UdpListenerFilter, UdpListenerFilterFactory

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.stats.metrics import Counter

TYPE_URL: Final = "outrider.python"
ENTRY_POINTS: Final = "outrider.filters"
_log = logging.getLogger("outrider.filter")

_HTTP_HOOKS: Final[dict[str, int]] = {
    "decode_headers": HEADERS_STOP_ITERATION,
    "decode_data": DATA_STOP_NO_BUFFER,
    "decode_trailers": TRAILERS_STOP,
    "encode_headers": HEADERS_STOP_ITERATION,
    "encode_data": DATA_STOP_NO_BUFFER,
    "encode_trailers": TRAILERS_STOP,
}


class PythonSettings:
    """One configured class: what to make and how it counts."""

    def __init__(self, name: str, kind: type, config: dict[str, object], errors: Counter) -> None:
        self.name = name
        self.kind = kind
        self.config = config
        self.errors = errors

    def failed(self, hook: str) -> None:
        """Count and log the exception that is being handled."""
        self.errors.inc()
        _log.exception("filter '%s': %s raised an exception", self.name, hook)


def load_class(view: View, base: type) -> tuple[type, dict[str, object]]:
    """The class that `value.module` names and its `value.config`. Raises ConfigError."""
    view.text("type_url")
    value = view.struct("value") or {}
    where = value.get("module")
    unknown = sorted(set(value) - {"module", "filter", "config"})
    if unknown:
        raise view.error(f"no such field: {', '.join(unknown)}; known are module, filter and config", "value")
    registered = value.get("filter")
    if isinstance(registered, str) and where is None:
        where = _registered(view, registered)
    if not isinstance(where, str) or ":" not in where:
        raise view.error("module: 'package.module:Class' is required", "value")
    module_name, _, class_name = where.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise view.error(f"cannot load '{where}': {error}", "value") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise view.error(f"'{where}' is no subclass of outrider's {base.__name__}", "value")
    config = value.get("config", {})
    if not isinstance(config, dict):
        raise view.error("config: an object is required", "value")
    return found, config


def _registered(view: View, name: str) -> str:
    """What an installed package registers under `name`. Raises ConfigError."""
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        known = ", ".join(sorted(entry_points(group=ENTRY_POINTS).names)) or "none"
        raise view.error(f"no installed package registers a filter '{name}'; registered: {known}", "value")
    return next(iter(found)).value


def settings_for(view: View, context: FactoryContext, base: type) -> PythonSettings:
    """Load the class and make one instance, so that what its constructor refuses is refused now. Raises ConfigError."""
    kind, config = load_class(view, base)
    name = f"{kind.__module__}.{kind.__qualname__}"
    try:
        kind(config)
    except Exception as error:
        raise view.error(f"{name}: {error}", "value") from error
    return PythonSettings(name, kind, config, context.root_scope.counter(f"python_filter.{name}.errors"))


# --- HTTP ---


def guarded_http_class(settings: PythonSettings) -> type:
    """A subclass of the user's class whose hooks cannot raise, and whose `async def` hooks stop the chain meanwhile."""
    members: dict[str, Any] = {}
    for hook, stopped in _HTTP_HOOKS.items():
        original = getattr(settings.kind, hook)
        if original is getattr(HttpFilter, hook):
            continue
        if inspect.iscoroutinefunction(original):
            members[hook] = _async_hook(settings, hook, original)
        else:
            members[hook] = _sync_hook(settings, hook, original, stopped)
    for hook in ("on_start", "on_destroy", "on_stream_complete"):
        original = getattr(settings.kind, hook)
        if original is not getattr(HttpFilter, hook):
            members[hook] = _quiet_hook(settings, hook, original)
    return type(settings.kind.__name__, (settings.kind,), members)


def _fail_stream(http_filter: HttpFilter) -> None:
    http_filter.manager.send_local_reply(500, "", "python_filter_exception")


def _sync_hook(settings: PythonSettings, hook: str, original: Callable[..., int], stopped: int) -> Callable[..., int]:
    @wraps(original)
    def guarded(self: HttpFilter, *arguments: object) -> int:
        try:
            return original(self, *arguments)
        except Exception:
            settings.failed(hook)
            _fail_stream(self)
            return stopped

    return guarded


def _async_hook(settings: PythonSettings, hook: str, original: Callable[..., Any]) -> Callable[..., int]:
    """Only headers stop everything behind them; a body or trailers that must wait are awaited in the headers' hook."""
    if not hook.endswith("_headers"):
        raise TypeError(f"{settings.name}: only decode_headers and encode_headers may be async, not {hook}")
    decoding = hook.startswith("decode")

    async def run(self: HttpFilter, headers: HeaderMap, end_stream: bool) -> None:
        try:
            await original(self, headers, end_stream)
        except Exception:
            settings.failed(hook)
            _fail_stream(self)
            return
        if decoding:
            self.continue_decoding()
        else:
            self.continue_encoding()

    @wraps(original)
    def started(self: HttpFilter, headers: HeaderMap, end_stream: bool) -> int:
        self.manager.dispatcher.spawn(run(self, headers, end_stream))
        return HEADERS_STOP_ALL_AND_BUFFER

    return started


def _quiet_hook(settings: PythonSettings, hook: str, original: Callable[..., None]) -> Callable[..., None]:
    @wraps(original)
    def guarded(self: HttpFilter) -> None:
        try:
            original(self)
        except Exception:
            settings.failed(hook)

    return guarded


class PythonHttpFactory(HttpFilterFactory):
    """Makes the user's HTTP filter for each stream."""

    def __init__(self, settings: PythonSettings) -> None:
        self.settings = settings
        self.kind = guarded_http_class(settings)

    def create(self) -> HttpFilter:
        try:
            made: HttpFilter = self.kind(self.settings.config)
        except Exception:
            self.settings.failed("__init__")
            return HttpFilter()
        return made


@HTTP_FILTERS.register("outrider.filters.http.python", TYPE_URL)
def create_http(config: View, context: FactoryContext) -> HttpFilterFactory:
    settings = settings_for(config, context, HttpFilter)
    try:
        return PythonHttpFactory(settings)
    except TypeError as error:
        raise config.error(str(error), "value") from None


# --- network ---


def guarded_network_class(settings: PythonSettings) -> type:
    members: dict[str, Any] = {}
    for hook in ("on_new_connection", "on_data", "on_write"):
        original = getattr(settings.kind, hook)
        if original is getattr(NetworkFilter, hook):
            continue
        if inspect.iscoroutinefunction(original):
            members[hook] = _async_network_hook(settings, hook, original)
        else:
            members[hook] = _network_hook(settings, hook, original)
    return type(settings.kind.__name__, (settings.kind,), members)


def _network_hook(settings: PythonSettings, hook: str, original: Callable[..., int]) -> Callable[..., int]:
    @wraps(original)
    def guarded(self: NetworkFilter, *arguments: object) -> int:
        try:
            return original(self, *arguments)
        except Exception:
            settings.failed(hook)
            self.connection.close(CLOSE_NO_FLUSH, "python_filter_exception")
            return STOP

    return guarded


def _async_network_hook(settings: PythonSettings, hook: str, original: Callable[..., Any]) -> Callable[..., int]:
    """The chain stops, and nothing further is read, until the coroutine returns.

    Then the bytes go on, or those that it returns in their place; STOP keeps them.
    """
    if hook == "on_write":
        raise TypeError(f"{settings.name}: on_write may not be async: what is written cannot wait")

    async def run(self: NetworkFilter, data: bytes, end_stream: bool) -> None:
        connection = self.connection
        try:
            outcome = await (original(self) if hook == "on_new_connection" else original(self, data, end_stream))
        except Exception:
            settings.failed(hook)
            connection.close(CLOSE_NO_FLUSH, "python_filter_exception")
            return
        if connection.state != STATE_OPEN:
            return
        connection.read_disable(False)
        if isinstance(outcome, bytes):
            self.continue_reading(outcome, end_stream)
        elif outcome != STOP:
            self.continue_reading(data, end_stream)

    @wraps(original)
    def started(self: NetworkFilter, data: bytes = b"", end_stream: bool = False) -> int:
        self.connection.read_disable(True)
        self.connection.dispatcher.spawn(run(self, data, end_stream))
        return STOP

    return started


class PythonNetworkFactory(NetworkFilterFactory):
    """Makes the user's network filter for each connection. A class attribute `is_terminal` ends the chain."""

    def __init__(self, settings: PythonSettings) -> None:
        self.settings = settings
        self.kind = guarded_network_class(settings)

    def create(self) -> NetworkFilter:
        try:
            made: NetworkFilter = self.kind(self.settings.config)
        except Exception:
            self.settings.failed("__init__")
            return NetworkFilter()
        return made


class TerminalPythonNetworkFactory(PythonNetworkFactory):
    is_terminal = True


@NETWORK_FILTERS.register("outrider.filters.network.python", TYPE_URL)
def create_network(config: View, context: FactoryContext) -> NetworkFilterFactory:
    settings = settings_for(config, context, NetworkFilter)
    terminal = bool(getattr(settings.kind, "is_terminal", False))
    try:
        return TerminalPythonNetworkFactory(settings) if terminal else PythonNetworkFactory(settings)
    except TypeError as error:
        raise config.error(str(error), "value") from None


# --- listener ---


def guarded_listener_class(settings: PythonSettings) -> type:
    """A subclass whose hooks close the connection instead of raising."""
    kind = settings.kind
    accept: Callable[..., int] = kind.on_accept  # type: ignore[attr-defined]
    data: Callable[..., int] = kind.on_data  # type: ignore[attr-defined]

    def on_accept(self: Any, callbacks: ListenerFilterChain) -> int:
        self._chain = callbacks
        try:
            return accept(self, callbacks)
        except Exception:
            settings.failed("on_accept")
            callbacks.fail()
            return STOP

    def on_data(self: Any, data_so_far: bytes) -> int:
        try:
            return data(self, data_so_far)
        except Exception:
            settings.failed("on_data")
            self._chain.fail()
            return STOP

    return type(kind.__name__, (kind,), {"on_accept": on_accept, "on_data": on_data})


class PythonListenerFactory(ListenerFilterFactory):
    def __init__(self, settings: PythonSettings) -> None:
        self.settings = settings
        self.kind = guarded_listener_class(settings)

    def create(self) -> ListenerFilter:
        try:
            made: ListenerFilter = self.kind(self.settings.config)
        except Exception:
            self.settings.failed("__init__")
            return ListenerFilter()
        return made


@LISTENER_FILTERS.register("outrider.filters.listener.python", TYPE_URL)
def create_listener(config: View, context: FactoryContext) -> ListenerFilterFactory:
    return PythonListenerFactory(settings_for(config, context, ListenerFilter))


# --- UDP ---


class PythonUdpFactory(UdpListenerFilterFactory):
    """Makes the user's UDP listener filter for each socket."""

    def __init__(self, settings: PythonSettings) -> None:
        self.settings = settings
        self.kind = guarded_udp_class(settings)

    def create(self) -> UdpListenerFilter:
        try:
            made: UdpListenerFilter = self.kind(self.settings.config)
        except Exception:
            self.settings.failed("__init__")
            return UdpListenerFilter()
        return made


def guarded_udp_class(settings: PythonSettings) -> type:
    """A subclass whose `on_data` drops the datagram instead of raising."""
    original: Callable[..., bool] = settings.kind.on_data  # type: ignore[attr-defined]

    def on_data(self: UdpListenerFilter, data: bytes, peer: Peer) -> bool:
        try:
            return original(self, data, peer)
        except Exception:
            settings.failed("on_data")
            return False

    return type(settings.kind.__name__, (settings.kind,), {"on_data": on_data})


@UDP_LISTENER_FILTERS.register("outrider.filters.udp_listener.python", TYPE_URL)
def create_udp(config: View, context: FactoryContext) -> UdpListenerFilterFactory:
    return PythonUdpFactory(settings_for(config, context, UdpListenerFilter))
