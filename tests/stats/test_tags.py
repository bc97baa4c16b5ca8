"""Tag extraction, against names and labels of Envoy 1.40."""

import re
from pathlib import Path

import pytest

from outrider.stats.metrics import Counter
from outrider.stats.prometheus import labels_text, sanitize
from outrider.stats.tags import (
    FixedTag,
    RegexExtractor,
    TagProducer,
    TokenExtractor,
    default_extractors,
    default_extractors_named,
    prefix_token,
    translate_ecmascript,
    without,
)

ROWS = [
    line.split("\t")
    for line in (Path(__file__).parent / "golden" / "tags.txt").read_text().splitlines()
    if not line.startswith("#")
]


def test_default_tags_are_envoys() -> None:
    producer = TagProducer()
    assert len(ROWS) > 500
    wrong = []
    for name, expected in ROWS:
        extracted, tags = producer.produce(name)
        shown = f"envoy_{sanitize(extracted)}{{{labels_text(tags)}}}"
        if shown != expected:
            wrong.append((name, shown, expected))
    assert not wrong


@pytest.mark.parametrize(
    ("name", "extracted", "tags"),
    [
        # Names that need traffic or extensions to exist; forms from Envoy's documentation.
        (
            "http.p.dynamodb.table.t.capacity.GetItem.__partition_id=ABC1234",
            "http.dynamodb.table.capacity",
            {"dynamo_partition_id": "ABC1234", "dynamo_operation": "GetItem", "dynamo_table": "t"},
        ),
        (
            "mongo.m.collection.col.callsite.site.query.total",
            "mongo.collection.callsite.query.total",
            {"mongo_callsite": "site", "mongo_collection": "col", "mongo_prefix": "m"},
        ),
        ("mongo.m.collection.col.query.total", "mongo.collection.query.total", {"mongo_collection": "col"}),
        ("listener.[__1]_443.ssl.ciphers.ECDHE-RSA", "listener.ssl.ciphers", {"ssl_cipher": "ECDHE-RSA"}),
        ("cluster.c.ssl.versions.TLSv1.3", "cluster.ssl.versions", {"ssl_version": "TLSv1.3"}),
        ("thread_local_cluster_manager.worker_3.clusters_inflated", None, {"worker_id": "3"}),
        ("auth.clientssl.p.update_success", "auth.clientssl.update_success", {"clientssl_prefix": "p"}),
        ("dns_filter.f.query", "dns_filter.query", {"dns_filter_prefix": "f"}),
        ("sds.secret.update_success", "sds.update_success", {"xds_resource_name": "secret"}),
        ("grpc.g.streams_total", "grpc.streams_total", {"google_grpc_client_prefix": "g"}),
    ],
)
def test_rarer_names(name: str, extracted: str | None, tags: dict[str, str]) -> None:
    got_name, got_tags = TagProducer().produce(name)
    values = dict(got_tags)
    assert extracted is None or got_name == extracted
    for tag, value in tags.items():
        assert values[f"envoy.{tag}"] == value


def test_fixed_tags_stand_on_every_name_in_order() -> None:
    # Order as Envoy's: general extractors, the command line's, stats_tags, those of the first token.
    producer = TagProducer(
        [
            *default_extractors(),
            FixedTag("cli", "val"),
            FixedTag("fx", "v1"),
            RegexExtractor("my", "downstream_((rq))_"),
        ]
    )
    assert producer.produce("http.in.downstream_rq_2xx") == (
        "http.downstream__xx",
        (
            ("envoy.response_code_class", "2"),
            ("cli", "val"),
            ("fx", "v1"),
            ("my", "rq"),
            ("envoy.http_conn_manager_prefix", "in"),
        ),
    )
    assert producer.produce("plain") == ("plain", (("cli", "val"), ("fx", "v1")))
    assert producer.fixed == [("cli", "val"), ("fx", "v1")]


def test_custom_regex_as_envoy() -> None:
    producer = TagProducer(
        [
            *default_extractors(),
            RegexExtractor("a", r"^http(?=\.).*?((zz)?)_rq"),
            RegexExtractor("no_group", "downstream"),
            RegexExtractor("c", "(nw)"),
            RegexExtractor("c", "(ow)"),
        ]
    )
    # An optional value that is missing gives an empty label; of two extractors the first counts.
    assert producer.produce("http.in.downstream_rq_2xx") == (
        "http.dnstream_rq_xx",
        (("envoy.response_code_class", "2"), ("c", "ow"), ("envoy.http_conn_manager_prefix", "in"), ("a", "")),
    )


def test_explicit_tags_are_not_extracted_again() -> None:
    counter = Counter("cluster.zz.cnt.k1.v")
    counter.own_name, counter.own_tags = "cluster.zz.cnt", (("k1", "v"),)
    TagProducer([*default_extractors(), FixedTag("fx", "v1")]).describe(counter)
    assert (counter.tag_extracted_name, counter.tags) == ("cluster.zz.cnt", (("k1", "v"),))


def test_describe_is_cached() -> None:
    counter = Counter("cluster.c.upstream_rq_200")
    TagProducer().describe(counter)
    TagProducer([]).describe(counter)
    assert counter.tag_extracted_name == "cluster.upstream_rq"


def test_defaults_by_name() -> None:
    assert len(default_extractors_named("envoy.http_conn_manager_prefix")) == 2
    assert default_extractors_named("nope") == []


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        (r"^http\.((x)\.)", "http"),
        (r"^http(?=\.).*", "http"),
        (r"^http$", "http"),
        (r"^(?:a|b)\.", ""),
        (r"_rq(_(\d{3}))$", ""),
        (r"^ht+p\.", ""),
    ],
)
def test_prefix_token(pattern: str, prefix: str) -> None:
    assert prefix_token(pattern) == prefix


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"[_.[:digit:]]+x", "1._2x", True),
        (r"[[:alpha:]]\d", "a1", True),
        (r"[[:alpha:]]\d", "a٣", False),
        (r"a$", "a\n", False),
        (r"[a[]b", "[b", True),
        (r"[^]", "\n", True),
        (r"[]", "x", False),
        (r"[a&&b]+", "&", True),
        (r"\[x\]", "[x]", True),
    ],
)
def test_ecmascript_dialect(pattern: str, text: str, matches: bool) -> None:
    assert (re.search(translate_ecmascript(pattern), text, re.ASCII) is not None) is matches


def test_bad_regex_is_a_value_error() -> None:
    for pattern in ("([", "(?<!x)(in)", "a**"):
        with pytest.raises(ValueError, match="Invalid regex"):
            RegexExtractor("t", pattern)


def test_token_patterns() -> None:
    extractor = TokenExtractor("t", "a.*.c.$.**")
    assert extractor.extract("a.b.c.d.e") == ("d", 6, 8)
    assert extractor.extract("a.b.c.d") is None
    assert extractor.extract("a.b.x.d.e") is None
    inner = TokenExtractor("t", "a.$.**.z.*")
    assert inner.extract("a.b.z.1") == ("b", 2, 4)
    assert inner.extract("a.b.x.y.z.1") == ("b", 2, 4)
    assert inner.extract("a.b.z") is None


def test_overlapping_cuts() -> None:
    assert without("abcdef", [(3, 5), (1, 4)]) == "af"
