"""Arithmetic of timeouts, and the headers that steer them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.data.header_map import RequestHeaderMap
from outrider.router import timeouts
from outrider.router.back_off import ExponentialBackOff, at_least_ms
from outrider.router.header_steering import (
    header_is_valid,
    is_steered,
    parse_unsigned,
    remove_retry_headers,
    take_steering,
)
from outrider.router.request_timeouts import decimal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1H", 3_600_000), (b"2M", 120_000), (b"3S", 3000), (b"4m", 4), (b"5u", 1), (b"1001u", 2), (b"5n", 1),
        (b"1000001n", 2), (b"0m", 0), (b"", -1), (b"5", -1), (b"m", -1), (b"5x", -1), (b"-5m", -1),
        (b"5 m", 5), (b"123456789S", -1),
    ],
)  # fmt: skip
def test_parse_grpc_timeout(text: bytes, expected: int) -> None:
    assert timeouts.parse_grpc_timeout(text) == expected


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (1, b"1m"), (99_999_999, b"99999999m"), (100_000_000, b"100000S"), (100_000_000_000, b"1666666M"),
        (99_999_999_000 * 60 + 60_000, b"1666666H"),
    ],
)  # fmt: skip
def test_format_grpc_timeout(milliseconds: int, expected: bytes) -> None:
    assert timeouts.format_grpc_timeout(milliseconds) == expected


@given(st.integers(1, 10**15))
def test_grpc_timeouts_are_never_lengthened_by_formatting(milliseconds: int) -> None:
    text = timeouts.format_grpc_timeout(milliseconds)
    assert len(text) <= 9
    assert 0 <= timeouts.parse_grpc_timeout(text) <= milliseconds


@pytest.mark.parametrize(
    ("header", "maximum", "offset", "expected"),
    [
        (None, 0, -1, 0), (None, 100, -1, 100), (b"50m", 0, -1, 50), (b"500m", 100, -1, 100), (b"50m", 0, 10, 40),
        (b"10m", 0, 10, 10), (b"bad", 100, -1, 100), (b"150m", 100, 100, 50),
    ],
)  # fmt: skip
def test_grpc_global_timeout(header: bytes | None, maximum: int, offset: int, expected: int) -> None:
    assert timeouts.grpc_global_timeout(header, maximum, offset) == expected


def test_per_try_timeouts_are_shorter_than_the_whole() -> None:
    assert timeouts.bounded_per_try(100, 200) == 100
    assert timeouts.bounded_per_try(200, 200) == 0
    assert timeouts.bounded_per_try(200, 0) == 200


@pytest.mark.parametrize(
    ("whole", "per_try", "elapsed", "hedging", "expected"),
    [
        (100, 0, 0, False, 100), (100, 40, 0, False, 40), (100, 40, 0, True, 100), (0, 0, 0, False, 0),
        (0, 40, 500, False, 40), (100, 40, 70, False, 30), (100, 0, 99, False, 1), (100, 0, 100, False, 1),
        (100, 40, 500, False, 1), (0, 40, 0, True, 0),
    ],
)  # fmt: skip
def test_expected_timeout(whole: int, per_try: int, elapsed: int, hedging: bool, expected: int) -> None:
    assert timeouts.expected_timeout(whole, per_try, elapsed, hedging) == expected


def test_percent_used() -> None:
    assert timeouts.percent_used(50, 200) == 25
    assert timeouts.percent_used(50, 0) == 0


@given(st.integers(0, 10**12))
def test_decimal(value: int) -> None:
    assert decimal(value) == str(value).encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0", 0), (b"15", 15), (b" 15\t", 15), (b"+15", 15), (b"", -1), (b"-1", -1), (b"1.5", -1), (b"1 5", -1),
        (b"18446744073709551615", (1 << 64) - 1), (b"18446744073709551616", -1), (b"9" * 40, -1), (b"+", -1),
    ],
)  # fmt: skip
def test_parse_unsigned(text: bytes, expected: int) -> None:
    assert parse_unsigned(text) == expected


def test_steering_is_read_and_removed() -> None:
    headers = RequestHeaderMap(
        {
            b"x-envoy-upstream-rq-timeout-ms": b"100",
            b"x-envoy-upstream-rq-per-try-timeout-ms": b"50",
            b"x-envoy-upstream-stream-duration-ms": b"900",
            b"x-envoy-hedge-on-per-try-timeout": b"true",
            b"x-envoy-upstream-rq-timeout-alt-response": b"",
            b"x-other": b"1",
        }
    )
    assert is_steered(headers)
    steering = take_steering(headers, False)
    assert (steering.timeout_ms, steering.per_try_timeout_ms, steering.stream_duration_ms) == (100, 50, 900)
    assert (steering.hedge_on_per_try_timeout, steering.alt_response) == (1, True)
    assert headers.names() == [b"x-other"]
    assert not is_steered(headers)


def test_malformed_steering_is_removed_all_the_same() -> None:
    headers = RequestHeaderMap({b"x-envoy-upstream-rq-timeout-ms": b"soon", b"x-envoy-hedge-on-per-try-timeout": b"x"})
    steering = take_steering(headers, False)
    assert (steering.timeout_ms, steering.hedge_on_per_try_timeout) == (-1, -1)
    assert headers.names() == []


def test_the_expected_timeout_of_an_egress_envoy() -> None:
    headers = RequestHeaderMap({b"x-envoy-expected-rq-timeout-ms": b"70", b"x-envoy-upstream-rq-timeout-ms": b"100"})
    assert take_steering(headers, True).timeout_ms == 70
    assert headers.contains(b"x-envoy-expected-rq-timeout-ms")
    assert take_steering(headers, False).timeout_ms == 100


def test_retry_headers_end_here() -> None:
    headers = RequestHeaderMap({b"x-envoy-retry-on": b"5xx", b"x-envoy-max-retries": b"1", b"a": b"b"})
    remove_retry_headers(headers)
    assert headers.names() == [b"a"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (b"x-envoy-retry-on", b"5xx,reset", True), (b"x-envoy-retry-on", b"5xx,foo", False),
        (b"x-envoy-retry-grpc-on", b"internal", True), (b"x-envoy-retry-grpc-on", b"5xx", False),
        (b"x-envoy-max-retries", b"3", True), (b"x-envoy-max-retries", b"three", False),
        (b"x-envoy-upstream-rq-timeout-ms", b"", False),
    ],
)  # fmt: skip
def test_header_is_valid(name: bytes, value: bytes, expected: bool) -> None:
    assert header_is_valid(name, value) is expected


@given(st.integers(1, 10_000), st.integers(1, 100_000), st.lists(st.integers(0, 1 << 63), min_size=1, max_size=20))
def test_back_off_stays_within_its_bounds(base: int, maximum: int, rolls: list[int]) -> None:
    back_off = ExponentialBackOff(base, maximum)
    bound = base
    for roll in rolls:
        assert 0 <= back_off.next_ms(roll) < bound
        bound = min(bound * 2, max(base, maximum))


@given(st.integers(1, 10_000_000), st.integers(0, 1 << 63))
def test_reset_times_are_not_undercut(minimum: int, roll: int) -> None:
    assert minimum <= at_least_ms(minimum, roll) <= minimum + (minimum + 1) // 2
