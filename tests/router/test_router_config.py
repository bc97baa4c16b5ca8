"""Configuration of the router filter, and its upstream log."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.access_log.access_log import AccessLog
from outrider.access_log.context import FormatContext
from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.data.stream_info import PROTOCOL_NONE
from outrider.event.dispatcher import Dispatcher
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.http.codec import RESET_CONNECTION_TERMINATION
from outrider.http.filter_registry import HTTP_FILTERS
from outrider.router.router_config import RouterFilterFactory, router_config
from tests.router.support.playbook import FakeLoop, World

ROUTER = "envoy.extensions.filters.http.router.v3.Router"
CODEC = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"


def message(name: str = ROUTER) -> Any:
    found = api.class_for_url(name)
    assert found is not None
    return found()


def factory_context() -> FactoryContext:
    world = World()
    made = FactoryContext(
        world.store,
        Dispatcher("test", FakeLoop()),  # type: ignore[arg-type]
        world.clusters,
        world.runtime,
        None,  # type: ignore[arg-type]
        None,
        ServerInfo(),
    )
    made.stat_prefix = "http.ingress."
    made.scope = world.store.scope("http.ingress.")
    return made


def test_defaults() -> None:
    made = factory_context()
    config = router_config(View(message()), made)
    assert config.dynamic_stats and not config.suppress_envoy_headers
    assert config.strict_headers is None and config.upstream_logs == []
    for name in ("rq_total", "no_route", "no_cluster", "rq_redirect", "rq_direct_response"):
        assert f"http.ingress.{name}" in made.scope.root().counters


def test_all_fields() -> None:
    router = message()
    router.dynamic_stats.value = False
    router.suppress_envoy_headers = True
    router.respect_expected_rq_timeout = True
    router.suppress_grpc_request_failure_code_stats = True
    router.reject_connect_request_early_data.value = True
    router.strict_check_headers.append("x-envoy-retry-on")
    router.upstream_log_options.flush_upstream_log_on_upstream_stream = True
    router.upstream_log_options.upstream_log_flush_interval.seconds = 2
    codec = router.upstream_http_filters.add(name="codec")
    codec.typed_config.Pack(message(CODEC))
    view = View(router)
    config = router_config(view, factory_context())
    assert view.unread() == []
    assert not config.dynamic_stats
    assert config.suppress_envoy_headers and config.respect_expected_timeout
    assert config.suppress_grpc_code_stats and config.reject_connect_early_data
    assert config.strict_headers == [b"x-envoy-retry-on"]
    assert config.log_on_pool_ready and config.log_flush_interval_ms == 2000


def test_spans_of_attempts() -> None:
    view = View(message())
    view.proto.start_child_span = True  # type: ignore[attr-defined]
    assert router_config(view, factory_context()).start_child_span
    assert view.unread() == []


def test_upstream_filters_end_with_the_codec() -> None:
    router = message()
    for name in ("one", "two"):
        router.upstream_http_filters.add(name=name).typed_config.Pack(message(CODEC))
    with pytest.raises(ConfigError, match="terminal filter named one of type one must be the last"):
        router_config(View(router), factory_context())


def test_unknown_upstream_filters() -> None:
    router = message()
    router.upstream_http_filters.add(name="router").typed_config.Pack(message())
    with pytest.raises(ConfigError, match="Didn't find a registered implementation"):
        router_config(View(router), factory_context())


def test_registration() -> None:
    extension = HTTP_FILTERS.find_by_name("envoy.filters.http.router")
    assert extension is not None
    assert HTTP_FILTERS.find_by_name("envoy.router") is extension
    factory = extension.factory(View(message()), factory_context())
    assert isinstance(factory, RouterFilterFactory) and factory.is_terminal


class Recorder(AccessLog):
    """An access logger that keeps what it is told."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int, int, int, int, int]] = []
        self.header: bytes | None = None

    def emit(self, context: FormatContext) -> None:
        info = context.stream_info
        self.entries.append(
            (
                context.log_type,
                info.response_code,
                info.response_flags,
                info.bytes_sent,
                info.bytes_received,
                info.protocol,
            )
        )
        if context.response_headers is not None:
            self.header = context.response_headers.get(b"x-u")


def test_upstream_log() -> None:
    world = World()
    recorder = Recorder()
    world.config.upstream_logs = [recorder]
    world.config.log_on_pool_ready = True
    world.request(method=b"POST", end=False)
    world.send(b"abc", True)
    world.attempts[0].respond(200, b"hi", (b"x-u", b"1"))
    assert recorder.entries == [("UpstreamPoolReady", 0, 0, 0, 0, 1), ("UpstreamEnd", 200, 0, 3, 2, 1)]
    assert recorder.header == b"1"


def test_upstream_log_of_a_failed_attempt() -> None:
    from outrider.data.response_flag import UPSTREAM_CONNECTION_TERMINATION

    world = World()
    recorder = Recorder()
    world.config.upstream_logs = [recorder]
    world.request()
    world.attempts[0].reset(RESET_CONNECTION_TERMINATION)
    assert recorder.entries == [("UpstreamEnd", 0, UPSTREAM_CONNECTION_TERMINATION, 0, 0, 1)]


def test_upstream_log_of_an_attempt_without_connection() -> None:
    world = World()
    recorder = Recorder()
    world.config.upstream_logs = [recorder]
    world.connected = False
    world.request()
    world.manager.destroy_filters()
    assert recorder.entries == [("UpstreamEnd", 0, 0, 0, 0, PROTOCOL_NONE)]


def test_periodic_upstream_log() -> None:
    world = World()
    recorder = Recorder()
    world.config.upstream_logs = [recorder]
    world.config.log_flush_interval_ms = 100
    world.request()
    world.loop.advance(350)
    assert [entry[0] for entry in recorder.entries] == ["UpstreamPeriodic"] * 3
    world.attempts[0].respond(200)
    assert recorder.entries[-1][0] == "UpstreamEnd"
    assert world.dispatcher.wheel.pending() == 0
