"""Timeouts, resets, retries, hedging."""

from __future__ import annotations

from outrider.data import response_flag as flags
from outrider.http.codec import (
    RESET_CONNECTION_TERMINATION,
    RESET_LOCAL,
    RESET_PROTOCOL_ERROR,
    RESET_REMOTE,
)
from outrider.router.config.retry_policy import (
    RETRY_ON_5XX,
    RETRY_ON_CONNECT_FAILURE,
    RETRY_ON_RESET,
    RETRY_ON_RESET_BEFORE_REQUEST,
    RETRY_ON_RETRIABLE_STATUS_CODES,
    HedgePolicy,
)
from outrider.upstream.conn_pool import POOL_OVERFLOW, POOL_REMOTE_CONNECTION_FAILURE
from tests.router.support.playbook import World

BEFORE = "upstream connect error or disconnect/reset before headers. "


def test_reset_before_the_response() -> None:
    for reason, code, flag, text in (
        (RESET_CONNECTION_TERMINATION, 503, flags.UPSTREAM_CONNECTION_TERMINATION, "connection termination"),
        (RESET_PROTOCOL_ERROR, 502, flags.UPSTREAM_PROTOCOL_ERROR, "protocol error"),
        (RESET_REMOTE, 503, flags.UPSTREAM_REMOTE_RESET, "remote reset"),
    ):
        world = World()
        world.request()
        world.attempts[0].reset(reason)
        details = "upstream_reset_before_response_started{" + text.replace(" ", "_") + "}"
        assert world.manager.local == (code, BEFORE + "reset reason: " + text, details)
        assert world.flags() == flag
        assert world.up(f"upstream_rq_{code}") == 1
        assert world.dispatcher.wheel.pending() == 0


def test_connection_failure_tells_the_reason_to_the_log_only() -> None:
    world = World()
    world.connected = False
    world.request()
    world.attempts[0].fail(POOL_REMOTE_CONNECTION_FAILURE, "delayed connect error: Connection refused")
    assert world.manager.local == (
        503,
        BEFORE + "reset reason: remote connection failure",
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
    )
    assert world.flags() == flags.UPSTREAM_CONNECTION_FAILURE
    upstream = world.manager.stream_info.upstream
    assert upstream is not None
    assert upstream.transport_failure_reason == "delayed connect error: Connection refused"


def test_overflow_is_marked() -> None:
    world = World()
    world.failure = POOL_OVERFLOW
    world.request()
    assert world.manager.local is not None and world.manager.local[0] == 503
    assert world.manager.sent is not None and world.manager.sent.get(b"x-envoy-overloaded") == b"true"
    assert world.flags() == flags.UPSTREAM_OVERFLOW
    upstream = world.manager.stream_info.upstream
    assert upstream is not None and upstream.host is None
    assert world.dispatcher.wheel.pending() == 0


def test_reset_after_the_response_began() -> None:
    world = World()
    world.request()
    world.attempts[0].respond(200, None)
    world.attempts[0].callbacks.decode_data(b"part", False)
    world.attempts[0].reset(RESET_PROTOCOL_ERROR)
    assert world.manager.reset_with == "upstream_reset_after_response_started{protocol_error}"
    assert world.flags() == flags.UPSTREAM_PROTOCOL_ERROR
    assert world.up("upstream_rq_200") == 1 and world.up("upstream_rq_502") == 0


def test_response_timeout() -> None:
    world = World()
    world.route.timeout_ms = 200
    world.request()
    world.loop.advance(190)
    assert world.manager.local is None
    world.loop.advance(50)
    assert world.manager.local == (504, "upstream request timeout", "response_timeout")
    assert world.flags() == flags.UPSTREAM_REQUEST_TIMEOUT
    assert world.attempts[0].encoder.reset == RESET_LOCAL
    assert world.up("upstream_rq_timeout") == world.up("upstream_rq_504") == 1
    assert world.attempts[0].pool.host.stats.rq_timeout.value == 1


def test_the_timeout_begins_with_the_end_of_the_request() -> None:
    world = World()
    world.route.timeout_ms = 200
    world.request(method=b"POST", end=False)
    world.loop.advance(1000)
    world.send(b"end", True)
    world.loop.advance(150)
    assert world.manager.local is None
    world.loop.advance(100)
    assert world.manager.local is not None


def test_timeout_with_another_answer() -> None:
    world = World()
    world.request((b"x-envoy-upstream-rq-timeout-ms", b"100"), (b"x-envoy-upstream-rq-timeout-alt-response", b"1"))
    sent = world.attempts[0].encoder.headers
    assert sent is not None
    assert sent.names() == [b"x-envoy-expected-rq-timeout-ms"]
    assert sent.get(b"x-envoy-expected-rq-timeout-ms") == b"100"
    world.loop.advance(150)
    assert world.manager.local == (204, "", "response_timeout")
    assert world.attempts[0].pool.host.stats.rq_error.value == 1


def test_timeout_while_the_response_flows() -> None:
    world = World()
    world.route.timeout_ms = 200
    world.request()
    world.attempts[0].respond(200, None)
    world.loop.advance(250)
    assert world.manager.reset_with == "response_timeout"
    assert world.up("upstream_rq_timeout") == 1 and world.up("upstream_rq_504") == 0


def test_max_stream_duration_switches_the_route_timeout_off() -> None:
    world = World()
    world.route.max_stream_duration_ms = 0
    world.request()
    assert world.dispatcher.wheel.pending() == 0
    sent = world.attempts[0].encoder.headers
    assert sent is not None and sent.get(b"x-envoy-expected-rq-timeout-ms") is None


def test_max_duration_of_the_cluster() -> None:
    world = World()
    world.cluster.info.max_stream_duration_ms = 100
    world.request()
    world.loop.advance(150)
    assert world.manager.local == (
        504,
        "upstream max stream duration reached",
        "upstream_max_stream_duration_reached",
    )
    assert world.flags() == flags.UPSTREAM_MAX_STREAM_DURATION_REACHED
    assert world.up("upstream_rq_max_duration_reached") == 1


def test_max_duration_from_a_header_before_the_request_is_complete() -> None:
    world = World()
    world.request((b"x-envoy-upstream-stream-duration-ms", b"100"), method=b"POST", end=False)
    world.loop.advance(150)
    assert world.manager.local is not None and world.manager.local[0] == 408


def test_a_retry_that_succeeds() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.host.include_attempt_count_in_request = True
    world.host.include_is_timeout_retry_header = True
    world.random.values = [0, 24]
    world.request()
    first = world.attempts[0]
    first.respond(503, b"")
    assert first.encoder.reset is None
    assert world.manager.sent is None and len(world.attempts) == 1
    assert world.cluster.info.resource_manager(0).retries.count.value == 1
    world.loop.advance(40)
    second = world.attempts[1]
    sent = second.encoder.headers
    assert sent is not None
    assert sent.get(b"x-envoy-attempt-count") == b"2"
    assert sent.get(b"x-envoy-is-timeout-retry") == b"false"
    second.respond(200, b"ok")
    assert (world.manager.status, world.manager.body) == (200, b"ok")
    assert world.manager.stream_info.attempt_count == 2
    assert world.flags() == 0
    for name in (
        "upstream_rq_retry",
        "upstream_rq_retry_success",
        "upstream_rq_retry_backoff_exponential",
        "retry.upstream_rq_503",
        "retry.upstream_rq_5xx",
        "retry.upstream_rq_completed",
        "upstream_rq_200",
    ):
        assert world.up(name) == 1, name
    assert world.up("upstream_rq_503") == 0
    assert world.cluster.info.resource_manager(0).retries.count.value == 0
    assert world.dispatcher.wheel.pending() == 0
    hosts = world.manager.stream_info.upstream
    assert hosts is not None and hosts.attempted_hosts == [first.pool.host, second.pool.host]


def test_a_response_with_body_is_reset_for_a_retry() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.request()
    world.attempts[0].respond(503, None)
    assert world.attempts[0].encoder.reset == RESET_LOCAL


def test_retries_run_out() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.request()
    world.attempts[0].respond(503)
    world.loop.advance(40)
    world.attempts[1].respond(503, b"sorry")
    assert (world.manager.status, world.manager.body) == (503, b"sorry")
    assert world.flags() == flags.UPSTREAM_RETRY_LIMIT_EXCEEDED
    assert world.details() == "via_upstream"
    assert world.up("upstream_rq_retry_limit_exceeded") == 1
    assert world.up("upstream_rq_retry_success") == 0
    assert world.cluster.info.resource_manager(0).retries.count.value == 0


def test_the_circuit_breaker_forbids_retries() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.cluster.info.resource_manager(0).retries.max = 0
    world.request()
    world.attempts[0].respond(503)
    assert world.manager.status == 503
    assert world.flags() == flags.UPSTREAM_OVERFLOW
    assert world.up("upstream_rq_retry_overflow") == 1


def test_runtime_forbids_retries() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.set_runtime("upstream.use_retry", 0)
    world.request()
    world.attempts[0].respond(503)
    assert world.manager.status == 503 and world.flags() == 0


def test_the_body_is_sent_again() -> None:
    world = World()
    world.retry(RETRY_ON_RESET)
    world.request(method=b"POST", end=False)
    world.send(b"abc", False)
    world.send(b"def", True)
    world.attempts[0].reset(RESET_CONNECTION_TERMINATION)
    world.loop.advance(40)
    encoder = world.attempts[1].encoder
    assert (encoder.body, encoder.ended) == (b"abcdef", True)


def test_a_retry_during_the_request() -> None:
    world = World()
    world.retry(RETRY_ON_RESET)
    world.request(method=b"POST", end=False)
    world.send(b"abc", False)
    world.attempts[0].reset(RESET_CONNECTION_TERMINATION)
    world.send(b"def", False)
    world.loop.advance(40)
    encoder = world.attempts[1].encoder
    assert (encoder.body, encoder.ended) == (b"abcdef", False)
    world.send(b"ghi", True)
    assert (encoder.body, encoder.ended) == (b"abcdefghi", True)


def test_too_much_body_ends_the_hope_of_a_retry() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.route.request_body_buffer_limit = 5
    world.request(method=b"POST", end=False)
    world.send(b"abc", False)
    world.send(b"defg", True)
    assert world.up("retry_or_shadow_abandoned") == 1
    world.attempts[0].respond(503)
    assert world.manager.status == 503
    assert world.attempts[0].encoder.body == b"abcdefg"


def test_too_much_body_while_a_retry_is_due() -> None:
    world = World()
    world.retry(RETRY_ON_RESET)
    world.request(method=b"POST", end=False)
    world.attempts[0].reset(RESET_REMOTE)
    world.send(b"x" * 1001, False)
    assert world.manager.local == (
        507,
        "exceeded request buffer limit while retrying upstream",
        "request_payload_exceeded_retry_buffer_limit",
    )
    world.loop.advance(100)
    assert len(world.attempts) == 1


def test_connect_failures_alone() -> None:
    world = World()
    world.retry(RETRY_ON_CONNECT_FAILURE)
    world.connected = False
    world.request()
    world.attempts[0].fail(POOL_REMOTE_CONNECTION_FAILURE)
    world.loop.advance(40)
    world.attempts[1].connect()
    world.attempts[1].reset(RESET_CONNECTION_TERMINATION)
    assert world.manager.local is not None
    assert world.manager.local[1] == BEFORE + "retried and the latest reset reason: connection termination"


def test_reset_before_the_request() -> None:
    world = World()
    world.retry(RETRY_ON_RESET_BEFORE_REQUEST, 5)
    world.connected = False
    world.request()
    world.attempts[0].fail(POOL_REMOTE_CONNECTION_FAILURE)
    world.loop.advance(40)
    assert len(world.attempts) == 2
    world.attempts[1].connect()
    world.attempts[1].reset(RESET_CONNECTION_TERMINATION)
    assert world.manager.status == 503


def test_a_retry_without_back_off() -> None:
    world = World()
    world.retry(RETRY_ON_RETRIABLE_STATUS_CODES).retriable_status_codes = [425]
    world.request()
    world.attempts[0].respond(425)
    assert len(world.attempts) == 1
    world.loop.advance(0)
    assert len(world.attempts) == 2
    assert world.up("upstream_rq_retry_backoff_exponential") == 0
    assert world.up("upstream_rq_retry") == 1


def test_a_retry_without_back_off_after_the_end() -> None:
    world = World()
    world.retry(RETRY_ON_RETRIABLE_STATUS_CODES).retriable_status_codes = [425]
    world.request()
    world.attempts[0].respond(425)
    world.manager.destroy_filters()
    world.loop.advance(0)
    assert len(world.attempts) == 1


def test_no_host_for_the_retry() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.request()
    world.attempts[0].respond(503)
    world.clusters.remove("up")
    world.loop.advance(40)
    assert world.manager.local == (503, "no healthy upstream", "no_healthy_upstream")
    assert world.dispatcher.wheel.pending() == 0


def test_downstream_goes_while_a_retry_is_due() -> None:
    world = World()
    world.retry(RETRY_ON_5XX)
    world.request()
    world.attempts[0].respond(503)
    world.manager.destroy_filters()
    assert world.cluster.info.resource_manager(0).retries.count.value == 0
    assert world.dispatcher.wheel.pending() == 0


def test_headers_ask_for_retries() -> None:
    world = World()
    world.request(
        (b"x-envoy-retry-on", b"5xx"), (b"x-envoy-max-retries", b"2"), (b"x-envoy-retriable-status-codes", b"418")
    )
    sent = world.attempts[0].encoder.headers
    assert sent is not None and sent.names() == [b"x-envoy-expected-rq-timeout-ms"]
    world.attempts[0].respond(500)
    world.loop.advance(60)
    world.attempts[1].respond(500)
    world.loop.advance(60)
    world.attempts[2].respond(500)
    assert world.flags() == flags.UPSTREAM_RETRY_LIMIT_EXCEEDED


def test_per_try_timeout() -> None:
    world = World()
    policy = world.retry(RETRY_ON_5XX)
    policy.per_try_timeout_ms = 100
    world.host.include_is_timeout_retry_header = True
    world.request()
    first = world.attempts[0].encoder
    assert first.headers is not None and first.headers.get(b"x-envoy-expected-rq-timeout-ms") == b"100"
    world.loop.advance(150)
    assert first.reset == RESET_LOCAL
    assert world.up("upstream_rq_per_try_timeout") == 1
    second = world.attempts[1].encoder
    assert second.headers is not None and second.headers.get(b"x-envoy-is-timeout-retry") == b"true"
    world.loop.advance(150)
    assert world.manager.local == (504, "upstream request timeout", "upstream_per_try_timeout")
    assert world.flags() == flags.UPSTREAM_REQUEST_TIMEOUT | flags.UPSTREAM_RETRY_LIMIT_EXCEEDED
    assert world.up("upstream_rq_per_try_timeout") == 2 and world.up("upstream_rq_timeout") == 0
    assert world.up("upstream_rq_504") == 1


def test_per_try_timeout_ends_with_the_response_headers() -> None:
    world = World()
    world.retry(RETRY_ON_5XX).per_try_timeout_ms = 100
    world.request()
    world.attempts[0].respond(200, None)
    world.loop.advance(200)
    assert world.manager.reset_with == ""
    world.attempts[0].callbacks.decode_data(b"late", True)
    assert world.manager.body == b"late"


def test_per_try_idle_timeout() -> None:
    world = World()
    world.retry(RETRY_ON_RESET, 0).per_try_idle_timeout_ms = 100
    world.request()
    world.loop.advance(60)
    world.attempts[0].respond(200, None)
    world.loop.advance(60)
    world.attempts[0].callbacks.decode_data(b"a", False)
    world.loop.advance(60)
    assert world.manager.reset_with == ""
    world.loop.advance(80)
    assert world.manager.reset_with == "upstream_per_try_idle_timeout"
    assert world.up("upstream_rq_per_try_idle_timeout") == 1


def test_hedging_takes_the_first_answer() -> None:
    world = World()
    world.retry(RETRY_ON_5XX).per_try_timeout_ms = 100
    world.route.hedge_policy = HedgePolicy(1, 0, 100, True)
    world.request()
    world.loop.advance(150)
    first, second = world.attempts
    assert first.encoder.reset is None
    assert world.up("upstream_rq_per_try_timeout") == 0
    first.respond(200, b"late")
    assert second.encoder.reset == RESET_LOCAL
    assert world.manager.body == b"late"
    assert world.cluster.info.resource_manager(0).retries.count.value == 0


def test_hedging_waits_for_the_better_answer() -> None:
    world = World()
    world.retry(RETRY_ON_5XX, 3).per_try_timeout_ms = 100
    world.route.hedge_policy = HedgePolicy(1, 0, 100, True)
    world.request()
    world.loop.advance(150)
    first, second = world.attempts
    first.respond(503, None)
    assert world.manager.sent is None
    assert first.encoder.reset == RESET_LOCAL
    second.respond(200, b"good")
    assert (world.manager.status, world.manager.body) == (200, b"good")


def test_hedging_with_a_reset() -> None:
    world = World()
    world.retry(RETRY_ON_5XX, 1).per_try_timeout_ms = 100
    world.route.hedge_policy = HedgePolicy(1, 0, 100, True)
    world.request()
    world.loop.advance(150)
    first, second = world.attempts
    first.reset(RESET_CONNECTION_TERMINATION)
    assert world.manager.sent is None
    second.reset(RESET_CONNECTION_TERMINATION)
    assert world.manager.local is not None and world.manager.local[0] == 503


def test_hedging_and_the_whole_timeout() -> None:
    world = World()
    world.retry(RETRY_ON_5XX, 1).per_try_timeout_ms = 100
    world.route.timeout_ms = 300
    world.route.hedge_policy = HedgePolicy(1, 0, 100, True)
    world.request()
    world.loop.advance(350)
    assert world.manager.local == (504, "upstream request timeout", "response_timeout")
    assert [attempt.encoder.reset for attempt in world.attempts] == [RESET_LOCAL, RESET_LOCAL]
    assert world.up("upstream_rq_timeout") == 2
    assert world.dispatcher.wheel.pending() == 0
