"""Parameters of `/stats`; messages are Envoy's."""

import pytest

from outrider.stats.query import BucketsMode, Hidden, QueryError, StatsFormat, StatsQuery, StatsType

BUCKETS_USAGE = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n"
FORMAT_USAGE = "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"
HIDDEN_USAGE = "usage: /stats?hidden=(include|only|exclude)\n\n"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"type": "x", "format": "y", "hidden": "z", "histogram_buckets": "q", "filter": "["}, "Invalid re2 regex"),
        ({"type": "x", "format": "y", "hidden": "z", "histogram_buckets": "q"}, BUCKETS_USAGE),
        ({"type": "x", "format": "y", "hidden": "z"}, "invalid &type= param"),
        ({"type": "counters"}, "invalid &type= param"),
        ({"format": "y", "hidden": "z"}, HIDDEN_USAGE),
        ({"format": "y"}, FORMAT_USAGE),
    ],
)
def test_bad_values_in_envoys_order(params: dict[str, str], message: str) -> None:
    with pytest.raises(QueryError) as caught:
        StatsQuery.parse(params)
    assert str(caught.value).startswith(message)


def test_regex_error_text() -> None:
    with pytest.raises(QueryError) as caught:
        StatsQuery.parse({"filter": "["})
    assert str(caught.value) == "Invalid re2 regex: missing ]: ["


def test_values() -> None:
    query = StatsQuery.parse(
        {
            "usedonly": "",
            "text_readouts": "0",
            "format": "prometheus",
            "type": "Gauges",
            "hidden": "only",
            "histogram_buckets": "summary",
            "invert_filter": "",
        }
    )
    assert query.used_only
    assert query.text_readouts
    assert query.invert
    assert query.format is StatsFormat.PROMETHEUS
    assert query.type is StatsType.GAUGES
    assert query.hidden is Hidden.ONLY
    assert query.buckets is BucketsMode.SUMMARY


def test_empty_values_are_as_if_absent() -> None:
    query = StatsQuery.parse({"type": "", "format": "", "histogram_buckets": "", "filter": ""})
    assert (query.type, query.format, query.buckets, query.pattern) == (StatsType.ALL, StatsFormat.TEXT, None, None)


@pytest.mark.parametrize(
    ("format_name", "buckets", "message"),
    [
        ("text", "prometheusnative", "Invalid histogram_buckets type for non prometheus stats type"),
        ("json", "prometheusnative", "Invalid histogram_buckets type for non prometheus stats type"),
        ("prometheus", "prometheusnative", "unsupported prometheusnative histogram type when not using protobuf"),
        ("prometheus", "detailed", "unsupported prometheus histogram bucket mode"),
        ("prometheus", "disjoint", "unsupported prometheus histogram bucket mode"),
    ],
)
def test_combinations_refused(format_name: str, buckets: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        StatsQuery.parse({"format": format_name, "histogram_buckets": buckets}).check()
