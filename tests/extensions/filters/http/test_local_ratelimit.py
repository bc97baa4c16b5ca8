"""envoy.filters.http.local_ratelimit: shared buckets, wildcards, configuration faults. Traffic is in tests/parity."""

from __future__ import annotations

import pytest

from outrider.config.errors import ConfigError
from outrider.data.shared_limit import SharedArena
from outrider.data.token_bucket import TokenBucket
from outrider.extensions.filters.http import local_ratelimit
from tests.extensions.filters.http.scene import Scene, request_headers

assert local_ratelimit
TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
ON = {"default_value": {"numerator": 100}}
SECOND = 1_000_000_000


def test_workers_take_from_one_bucket() -> None:
    arena = SharedArena(2)
    first = TokenBucket(2, 1, SECOND, arena, "b")
    second = TokenBucket(2, 1, SECOND, arena, "b")
    now = 10 * SECOND
    assert first.take(1, now) and second.take(1, now)
    assert not first.take(1, now) and not second.take(1, now)
    assert second.seconds_to_next(now) == 1
    assert first.take(1, now + SECOND)
    assert not second.take(1, now + SECOND)


def test_bucket_never_holds_more_than_its_size() -> None:
    bucket = TokenBucket(3, 1, SECOND, None, "")
    assert bucket.take(1, SECOND)
    assert bucket.tokens(100 * SECOND) == 3
    assert not bucket.take(4, 100 * SECOND)


def test_wildcards_keep_a_bounded_number_of_buckets() -> None:
    bucket = {"max_tokens": 1, "fill_interval": "3600s"}
    action = {"request_headers": {"header_name": "x-who", "descriptor_key": "who"}}
    config = {
        "stat_prefix": "rl", "filter_enabled": ON, "filter_enforced": ON, "max_dynamic_descriptors": 2,
        "descriptors": [{"entries": [{"key": "who"}], "token_bucket": bucket}], "rate_limits": [{"actions": [action]}],
        "token_bucket": {"max_tokens": 100, "fill_interval": "1s"},
    }  # fmt: skip
    scene = Scene("rl", TYPE, config)

    def passes(who: str) -> bool:
        return scene.stream(request_headers(("x-who", who))).passed

    assert passes("a") and not passes("a")
    assert passes("b") and passes("c")
    # The bucket of "a" was the least recently used one, and is forgotten.
    assert passes("a")
    assert scene.counter("rl.http_local_rate_limit.enforced") == 1


@pytest.mark.parametrize(
    "config",
    [
        {"stat_prefix": "a", "token_bucket": {"max_tokens": 1, "fill_interval": "0.04s"}},
        {"stat_prefix": "a", "rate_limits": [{"stage": 1, "actions": [{"remote_address": {}}]}]},
        {"stat_prefix": "a", "rate_limits": [{"actions": [{"extension": {"name": "x"}}]}]},
    ],
)
def test_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Scene("rl", TYPE, config)


def test_routes_need_a_bucket() -> None:
    scene = Scene("rl", TYPE, {"stat_prefix": "a"})
    with pytest.raises(ConfigError):
        scene.route_config(TYPE, {"stat_prefix": "a"})
