"""`stats_config`."""

from typing import Any

import pytest
from google.protobuf import json_format

from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.stats_config import StatsConfig
from outrider.config.view import View
from outrider.stats.bins import DEFAULT_BUCKETS


def view_of(fields: dict[str, Any]) -> View:
    message = api.new("envoy.config.metrics.v3.StatsConfig")
    json_format.ParseDict(fields, message)
    return View(message, "stats_config")


def read(fields: dict[str, Any], cli_tags: tuple[tuple[str, str], ...] = ()) -> StatsConfig:
    view = view_of(fields)
    config = StatsConfig.from_view(view, cli_tags)
    assert view.unread() == []
    return config


def test_not_set() -> None:
    config = StatsConfig.from_view(None, [("cli", "v")])
    assert config.producer.produce("cluster.a.x") == ("cluster.x", (("cli", "v"), ("envoy.cluster_name", "a")))
    assert not config.policy.rejects("x")
    assert config.policy.buckets("x") == DEFAULT_BUCKETS


def test_matcher_lists() -> None:
    patterns = {"patterns": [{"prefix": "Foo", "ignore_case": True}, {"safe_regex": {"regex": "b.*r"}}]}
    excluded = read({"stats_matcher": {"exclusion_list": patterns}}).policy
    included = read({"stats_matcher": {"inclusion_list": patterns}}).policy
    for name, listed in (("fooX", True), ("bxr", True), ("bxrx", False)):
        assert excluded.rejects(name) is listed
        assert included.rejects(name) is not listed
    assert read({"stats_matcher": {"reject_all": True}}).policy.rejects("x")


def test_buckets() -> None:
    policy = read({"histogram_bucket_settings": [{"match": {"suffix": "_ms"}, "buckets": [5, 0.5], "bins": 20}]}).policy
    assert policy.buckets("a_ms") == (0.5, 5)
    assert policy.buckets("a") == DEFAULT_BUCKETS


def test_tags() -> None:
    name = "http.in.downstream_rq_200"
    custom = {"tag_name": "envoy.http_conn_manager_prefix", "regex": r"^http\.((i)n\.)"}
    assert read({"use_all_default_tags": False}).producer.produce(name) == (name, ())
    assert read({"stats_tags": [custom]}).producer.produce(name)[1] == (
        ("envoy.response_code", "200"),
        ("envoy.http_conn_manager_prefix", "in"),
    )
    assert read({"stats_tags": [custom], "allow_default_tag_overrides": True}).producer.produce(name) == (
        "http.downstream_rq",
        (("envoy.response_code", "200"), ("envoy.http_conn_manager_prefix", "i")),
    )
    only = read({"use_all_default_tags": False, "stats_tags": [{"tag_name": "envoy.response_code"}]})
    assert only.producer.produce(name) == ("http.in.downstream_rq", (("envoy.response_code", "200"),))
    fixed = read({"use_all_default_tags": False, "stats_tags": [{"tag_name": "f", "fixed_value": "v"}]}, (("c", "w"),))
    assert fixed.producer.produce(name) == (name, (("c", "w"), ("f", "v")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"stats_tags": [{"tag_name": "nope"}]},
            "No regex specified for tag specifier and no default regex for name: 'nope'",
        ),
        ({"stats_tags": [{"tag_name": "a", "regex": "(["}]}, "Invalid regex"),
        ({"stats_tags": [{"fixed_value": "a"}]}, "tag_name cannot be empty"),
        ({"stats_matcher": {"exclusion_list": {"patterns": [{"safe_regex": {"regex": "["}}]}}}, "missing ]"),
    ],
)
def test_errors_name_their_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StatsConfig.from_view(view_of(fields))
    assert message in str(caught.value)
    assert "stats_config." in str(caught.value)


def test_custom_matchers_are_left_unread() -> None:
    view = view_of({"stats_matcher": {"exclusion_list": {"patterns": [{"custom": {"name": "x"}}]}}})
    StatsConfig.from_view(view)
    assert view.unread() == ["stats_config.stats_matcher.exclusion_list.patterns[0].custom"]
