"""The router filter: plain forwarding and what it answers by itself."""

from __future__ import annotations

from outrider.data import response_flag as flags
from outrider.data.header_map import HeaderMap
from outrider.http.codec import RESET_LOCAL
from outrider.http.header_mutation import HeaderParser
from outrider.router.config.path_match import PrefixPath
from outrider.router.config.redirect import DirectResponseRoute
from outrider.router.config.route_match import RouteMatch
from outrider.router.config.virtual_host import VirtualCluster
from outrider.router.filter import is_grpc
from outrider.upstream.cluster_stats import TimeoutBudgetStats
from tests.router.support.playbook import World


def test_a_request_and_its_response() -> None:
    world = World()
    world.request((b"x-a", b"1"))
    (attempt,) = world.attempts
    sent = attempt.encoder.headers
    assert sent is not None
    assert sent.all_items() == [
        (b":authority", b"a.test"),
        (b":path", b"/"),
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b"x-a", b"1"),
        (b"x-envoy-expected-rq-timeout-ms", b"15000"),
    ]
    assert attempt.encoder.ended
    attempt.respond(200, b"hello", (b"content-length", b"5"))
    manager = world.manager
    assert (manager.status, manager.body, manager.ended) == (200, b"hello", True)
    assert manager.sent is not None
    assert manager.sent.names() == [b"content-length", b"x-envoy-upstream-service-time"]
    info = manager.stream_info
    assert info.response_code_details == "via_upstream"
    assert info.response_flags == 0
    assert (info.attempt_count, info.cluster_name) == (1, "up")
    assert info.upstream is not None
    assert info.upstream.host_name == attempt.pool.host.hostname
    assert info.upstream.attempted_hosts is None
    assert info.upstream.last_upstream_rx_ns >= info.upstream.first_upstream_tx_ns > 0
    assert world.counter("http.h.rq_total") == 1
    for name in ("completed", "2xx", "200"):
        assert world.up(f"upstream_rq_{name}") == world.up(f"external.upstream_rq_{name}") == 1
    assert attempt.pool.host.stats.rq_success.value == 1
    assert attempt.encoder.reset is None
    assert world.dispatcher.wheel.pending() == 0


def test_no_hook_is_left_after_the_response() -> None:
    world = World()
    world.request()
    router = world.router
    world.attempts[0].respond(204)
    assert router.upstream is None and router.done
    assert world.attempts[0].callbacks.encoder is None  # type: ignore[attr-defined]


def test_body_and_trailers_go_upstream() -> None:
    world = World()
    world.request(method=b"POST", end=False)
    encoder = world.attempts[0].encoder
    assert not encoder.ended
    world.send(b"abc", False)
    world.send(b"def", False)
    trailers = HeaderMap({b"t": b"1"})
    world.send_trailers(trailers)
    assert (encoder.body, encoder.trailers, encoder.ended) == (b"abcdef", trailers, True)


def test_body_waits_for_the_connection() -> None:
    world = World()
    world.connected = False
    world.request(method=b"POST", end=False)
    attempt = world.attempts[0]
    world.send(b"abc", False)
    assert attempt.encoder.headers is None
    world.send(b"def", True)
    attempt.connect()
    assert (attempt.encoder.body, attempt.encoder.ended) == (b"abcdef", True)


def test_downstream_is_not_read_while_too_much_waits_for_the_connection() -> None:
    world = World()
    world.connected = False
    world.request(method=b"POST", end=False)
    world.send(b"x" * 1001, False)
    assert world.manager.read_disabled == 1
    world.send(b"y", False)
    assert world.manager.read_disabled == 1
    world.attempts[0].connect()
    assert world.manager.read_disabled == 0
    assert len(world.attempts[0].encoder.body) == 1002


def test_an_early_response_resets_the_upstream() -> None:
    world = World()
    world.request(method=b"POST", end=False)
    world.send(b"abc", False)
    attempt = world.attempts[0]
    attempt.respond(413, b"no")
    assert attempt.encoder.reset == RESET_LOCAL
    assert (world.manager.status, world.manager.body) == (413, b"no")
    assert world.manager.sent is not None
    assert world.manager.sent.get(b"x-envoy-upstream-service-time") is None
    assert "cluster.up.upstream_rq_time" not in world.store.histograms


def test_the_upstream_is_left_when_downstream_goes() -> None:
    world = World()
    world.request()
    world.manager.destroy_filters()
    assert world.attempts[0].encoder.reset == RESET_LOCAL
    assert world.dispatcher.wheel.pending() == 0


def test_the_queue_is_left_when_downstream_goes() -> None:
    world = World()
    world.connected = False
    world.request()
    world.manager.destroy_filters()
    assert world.attempts[0].cancelled


def test_response_trailers() -> None:
    world = World()
    world.request()
    world.attempts[0].respond(200, None)
    world.attempts[0].callbacks.decode_data(b"hi", False)
    trailers = HeaderMap({b"t": b"1"})
    world.attempts[0].callbacks.decode_trailers(trailers)
    assert (world.manager.body, world.manager.trailers) == (b"hi", trailers)


def test_no_route() -> None:
    world = World()
    world.manager.routes = [None]
    world.request()
    assert world.manager.local == (404, "", "route_not_found")
    assert world.flags() == flags.NO_ROUTE_FOUND
    assert world.counter("http.h.no_route") == 1
    assert world.attempts == []


def test_no_cluster() -> None:
    world = World()
    world.route.cluster_name = "none"
    world.route.cluster_not_found_code = 404
    world.request()
    assert world.manager.local == (404, "", "cluster_not_found")
    assert world.flags() == flags.NO_CLUSTER_FOUND
    assert world.counter("http.h.no_cluster") == 1
    assert world.manager.stream_info.attempt_count == 0


def test_no_healthy_host() -> None:
    world = World()
    world.add_cluster("empty", 0)
    world.route.cluster_name = "empty"
    world.host.include_attempt_count_in_response = True
    world.request()
    assert world.manager.sent is not None and world.manager.sent.get(b"x-envoy-attempt-count") == b"1"
    assert world.manager.local == (503, "no healthy upstream", "no_healthy_upstream")
    assert world.flags() == flags.NO_HEALTHY_UPSTREAM
    assert world.counter("cluster.empty.upstream_rq_503") == 1
    assert world.manager.stream_info.attempt_count == 1


def test_maintenance_mode() -> None:
    world = World()
    world.set_runtime("upstream.maintenance_mode.up", 100)
    world.request()
    assert world.manager.local == (503, "maintenance mode", "maintenance_mode")
    assert world.manager.sent is not None
    assert world.manager.sent.get(b"x-envoy-overloaded") == b"true"
    assert world.flags() == flags.UPSTREAM_OVERFLOW
    assert world.up("upstream_rq_maintenance_mode") == world.up("upstream_rq_503") == 1


def test_maintenance_mode_for_some() -> None:
    world = World()
    world.set_runtime("upstream.maintenance_mode.up", 30)
    world.random.values = [30]
    world.request()
    assert world.manager.local is None


def test_drop_overload() -> None:
    world = World()
    world.cluster.info.drop_overload = 10.0
    world.random.values = [99_999]
    world.request()
    assert world.manager.local == (503, "drop overload", "drop_overload")
    assert world.manager.sent is not None
    assert world.manager.sent.get(b"x-envoy-drop-overload") == b"true"
    assert world.flags() == flags.DROP_OVERLOAD


def test_drop_overload_spares_the_rest() -> None:
    world = World()
    world.cluster.info.drop_overload = 10.0
    world.random.values = [100_000]
    world.request()
    assert world.manager.local is None


def test_direct_response() -> None:
    world = World()
    route = DirectResponseRoute(world.host, RouteMatch(PrefixPath(b"/", True)), 200)
    route.body = b"hello"
    world.manager.routes = [route]
    world.request()
    assert world.manager.local == (200, "hello", "direct_response")
    assert world.manager.sent is not None and world.manager.sent.get(b"location") is None
    assert world.counter("http.h.rq_direct_response") == 1


def test_direct_response_that_needs_a_location() -> None:
    world = World()
    world.manager.routes = [DirectResponseRoute(world.host, RouteMatch(PrefixPath(b"/", True)), 201)]
    world.request(path=b"/here?x=1")
    assert world.manager.sent is not None
    assert world.manager.sent.get(b"location") == b"http://a.test/here?x=1"


def test_suppressed_envoy_headers() -> None:
    world = World()
    world.config.suppress_envoy_headers = True
    world.request()
    sent = world.attempts[0].encoder.headers
    assert sent is not None and sent.names() == []
    world.attempts[0].respond(200)
    assert world.manager.sent is not None and world.manager.sent.names() == []


def test_attempt_counts_are_told_both_ways() -> None:
    world = World()
    world.host.include_attempt_count_in_request = True
    world.host.include_attempt_count_in_response = True
    world.request()
    sent = world.attempts[0].encoder.headers
    assert sent is not None and sent.get(b"x-envoy-attempt-count") == b"1"
    world.attempts[0].respond(200)
    assert world.manager.sent is not None and world.manager.sent.get(b"x-envoy-attempt-count") == b"1"


def test_strict_header_check() -> None:
    world = World()
    world.config.strict_headers = [b"x-envoy-retry-on", b"x-envoy-max-retries"]
    world.request((b"x-envoy-max-retries", b"2 3"))
    assert world.manager.local == (
        400,
        "invalid header 'x-envoy-max-retries' with value '2 3'",
        "request_headers_failed_strict_check{x-envoy-max-retries}",
    )
    assert world.flags() == flags.INVALID_ENVOY_REQUEST_HEADERS
    assert world.attempts == []


def test_auto_host_rewrite() -> None:
    world = World()
    world.route.auto_host_rewrite = True
    world.request()
    sent = world.attempts[0].encoder.headers
    assert sent is not None
    assert sent.authority == world.attempts[0].pool.host.hostname.encode()
    assert sent.get(b"x-envoy-original-host") == b"a.test"


def test_a_request_that_cannot_be_sent() -> None:
    world = World()
    world.connected = False
    world.request()
    world.attempts[0].encoder.refuse = "missing required header: :method"
    world.attempts[0].connect()
    assert world.manager.local == (
        503,
        "missing required header: :method",
        "filter_removed_required_request_headers{missing_required_header:_:method}",
    )
    assert world.flags() == flags.DOWNSTREAM_PROTOCOL_ERROR
    assert world.attempts[0].encoder.reset == RESET_LOCAL


def test_internal_requests_and_canaries_are_counted_apart() -> None:
    world = World()
    world.request((b"x-envoy-internal", b"true"))
    world.attempts[0].respond(200, b"", (b"x-envoy-upstream-canary", b"true"))
    for prefix in ("", "internal.", "canary."):
        assert world.up(prefix + "upstream_rq_200") == 1
        assert f"cluster.up.{prefix}upstream_rq_time" in world.store.histograms
    assert world.up("external.upstream_rq_200") == 0


def test_without_dynamic_stats() -> None:
    world = World()
    world.config.dynamic_stats = False
    world.request()
    world.attempts[0].respond(200)
    assert world.up("upstream_rq_200") == 0


def test_alternative_stat_prefix() -> None:
    world = World()
    world.request((b"x-envoy-upstream-alt-stat-name", b"alt"))
    sent = world.attempts[0].encoder.headers
    assert sent is not None and sent.get(b"x-envoy-upstream-alt-stat-name") is None
    world.attempts[0].respond(200)
    for prefix in ("", "external.", "alt.", "alt.external."):
        assert world.up(prefix + "upstream_rq_200") == 1
        assert f"cluster.up.{prefix}upstream_rq_time" in world.store.histograms


def test_zone_stats() -> None:
    world = World()
    world.config.zone = "here"
    for host in world.cluster.hosts.values():
        host.locality.zone = "there"
    world.request()
    world.attempts[0].respond(200)
    assert world.up("zone.here.there.upstream_rq_200") == 1
    assert "cluster.up.zone.here.there.upstream_rq_time" in world.store.histograms
    for host in world.cluster.hosts.values():
        host.locality.zone = ""


def test_virtual_cluster_stats() -> None:
    world = World()
    scope = world.store.scope("vhost.vh.vcluster.vc.")
    world.host.virtual_clusters = [VirtualCluster("vc", [], scope)]
    world.host.catch_all_cluster = VirtualCluster("other", [], world.store.scope("vhost.vh.vcluster.other."))
    world.request()
    assert world.counter("vhost.vh.vcluster.vc.upstream_rq_total") == 1
    world.attempts[0].respond(200)
    assert world.counter("vhost.vh.vcluster.vc.upstream_rq_200") == 1
    assert "vhost.vh.vcluster.vc.upstream_rq_time" in world.store.histograms
    assert world.manager.stream_info.virtual_cluster_name == "vc"


def test_timeout_budget() -> None:
    world = World()
    world.cluster.info.timeout_budget = TimeoutBudgetStats(world.cluster.info.scope)
    world.request()
    world.attempts[0].respond(200)
    for name in ("percent_used", "per_try_percent_used"):
        histogram = world.store.histograms["cluster.up.upstream_rq_timeout_budget_" + name]
        assert sum(histogram.take_bins().values()) == 1


def test_grpc_success_is_known_from_trailers() -> None:
    for status, success in ((b"0", 1), (b"3", 1), (b"13", 0)):
        world = World()
        world.request((b"content-type", b"application/grpc"))
        attempt = world.attempts[0]
        attempt.respond(200, None)
        attempt.callbacks.decode_trailers(HeaderMap({b"grpc-status": status}))
        stats = attempt.pool.host.stats
        assert (stats.rq_success.value, stats.rq_error.value) == (success, 1 - success)


def test_grpc_without_trailers_is_an_error() -> None:
    world = World()
    world.request((b"content-type", b"application/grpc+proto"))
    world.attempts[0].respond(200, b"message")
    assert world.attempts[0].pool.host.stats.rq_error.value == 1


def test_grpc_code_stats_can_be_suppressed() -> None:
    world = World()
    world.config.suppress_grpc_code_stats = True
    world.request((b"content-type", b"application/grpc"))
    world.attempts[0].respond(503)
    assert world.up("upstream_rq_503") == 0
    assert world.up("upstream_rq_completed") == world.up("external.upstream_rq_503") == 1


def test_what_is_grpc() -> None:
    world = World()
    headers = world.request()
    for value, expected in (
        (b"application/grpc", True),
        (b"application/grpc+json", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
    ):
        headers.set(b"content-type", value)
        assert is_grpc(headers) is expected


def test_response_headers_are_edited_last() -> None:
    world = World()
    world.route.response_edits = [HeaderParser([], [b"x-envoy-upstream-service-time", b"x-gone"])]
    world.request()
    world.attempts[0].respond(200, b"", (b"x-gone", b"1"), (b"x-kept", b"1"))
    assert world.manager.sent is not None and world.manager.sent.names() == [b"x-kept"]


def test_informational_responses() -> None:
    world = World()
    world.request()
    attempt = world.attempts[0]
    hints = attempt.encoder.headers
    assert hints is not None
    from outrider.data.header_map import ResponseHeaderMap

    attempt.callbacks.decode_1xx_headers(ResponseHeaderMap(status=103))
    attempt.callbacks.decode_1xx_headers(ResponseHeaderMap(status=102))
    attempt.respond(200)
    assert world.manager.informational == [103]
    assert world.manager.status == 200
    assert world.up("upstream_rq_103") == 1


def test_back_pressure_from_downstream() -> None:
    world = World()
    world.request()
    attempt = world.attempts[0]
    world.manager.tell_downstream_high()
    assert attempt.encoder.read_disabled == 0
    attempt.respond(200, None)
    assert attempt.encoder.read_disabled == 1
    assert world.up("upstream_flow_control_paused_reading_total") == 1
    world.manager.tell_downstream_low()
    assert attempt.encoder.read_disabled == 0
    assert world.up("upstream_flow_control_resumed_reading_total") == 1
    world.manager.tell_downstream_high()
    assert attempt.encoder.read_disabled == 1


def test_back_pressure_that_ends_before_the_response() -> None:
    world = World()
    world.request()
    world.manager.tell_downstream_high()
    world.manager.tell_downstream_low()
    world.attempts[0].respond(200, None)
    assert world.attempts[0].encoder.read_disabled == 0
    assert world.up("upstream_flow_control_paused_reading_total") == 0


def test_back_pressure_from_upstream() -> None:
    world = World()
    world.request(method=b"POST", end=False)
    attempt = world.attempts[0]
    attempt.callbacks.on_above_write_buffer_high_watermark()
    assert world.manager.read_disabled == 1
    attempt.callbacks.on_below_write_buffer_low_watermark()
    assert world.manager.read_disabled == 0
    attempt.callbacks.on_above_write_buffer_high_watermark()
    attempt.respond(200, b"done")
    assert world.manager.read_disabled == 0
    assert world.up("upstream_flow_control_backed_up_total") == 2
    assert world.up("upstream_flow_control_drained_total") == 2
