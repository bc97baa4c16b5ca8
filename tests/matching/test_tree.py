"""Matcher trees; the outcomes were compared with Envoy 1.40's RBAC filter and route matcher."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.data.header_map import HeaderMap, ResponseHeaderMap
from outrider.extensions.all_extensions import load_extensions
from outrider.matching import input_matchers, inputs, tls_inputs
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree
from tests.matching.support import TYPE, headers_of, stream_info, view_of

assert input_matchers and inputs and tls_inputs
NETWORK = "envoy.extensions.matching.common_inputs.network.v3."
MATCHERS = "envoy.extensions.matching.input_matchers."


class NamedActions(ActionLoader):
    """An action is the text it carries."""

    def load(self, action: View) -> object:
        action.text("name")
        return action.any("typed_config").text("value")


def extension(type_name: str, **fields: object) -> dict[str, object]:
    return {"name": "x", "typed_config": {"@type": TYPE + type_name, **fields}}


def header(name: str = "x-a") -> dict[str, object]:
    return extension("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)


def act(text: str, **more: object) -> dict[str, object]:
    return {"action": extension("google.protobuf.StringValue", value=text), **more}


def when(data_input: dict[str, object], **how: object) -> dict[str, object]:
    return {"single_predicate": {"input": data_input, **how}}


def first_of(*branches: tuple[Any, Any], **more: object) -> dict[str, object]:
    matchers = [{"predicate": predicate, "on_match": on_match} for predicate, on_match in branches]
    return {"matcher_list": {"matchers": matchers}, **more}


def by(data_input: dict[str, object], **more: Any) -> dict[str, object]:
    on_no_match = more.pop("on_no_match", None)
    tree: dict[str, object] = {"matcher_tree": {"input": data_input, **more}}
    if on_no_match is not None:
        tree["on_no_match"] = on_no_match
    return tree


def build(tree: dict[str, object], keep_matching: bool = False, http: bool = True) -> MatchTree:
    view = view_of("xds.type.matcher.v3.Matcher", tree)
    made = load_tree(view, NamedActions(), None, http, keep_matching)
    assert view.unread() == []
    return made


IS_Z = when(header("x-b"), value_match={"exact": "z"})
ONLY_Z = {"matcher": first_of((IS_Z, act("nested")))}


def outcome(tree: dict[str, object], a: str | None = None, b: str | None = None, path: str = "/") -> object:
    fields = [(name, value) for name, value in (("x-a", a), ("x-b", b)) if value is not None]
    return build(tree).evaluate(MatchingData(stream_info(), headers_of(*fields, path=path)))


def test_exact_map() -> None:
    tree = by(header(), exact_match_map={"map": {"a": act("A"), "b": ONLY_Z}}, on_no_match=act("none"))
    assert [outcome(tree, value) for value in ("a", "b", "c", None)] == ["A", "none", "none", "none"]
    assert outcome(tree, "b", "z") == "nested"


def test_prefix_map_goes_on_with_shorter_prefixes() -> None:
    tree = by(
        header(), prefix_match_map={"map": {"a": act("A"), "ab": ONLY_Z, "abc": act("ABC")}}, on_no_match=act("none")
    )
    assert [outcome(tree, value) for value in ("a", "abx", "abcd", "x")] == ["A", "A", "ABC", "none"]
    assert outcome(tree, "abx", "z") == "nested"


def test_list_and_predicates() -> None:
    starts_a = when(header(), value_match={"prefix": "a"})
    both = {"and_matcher": {"predicate": [starts_a, {"not_matcher": IS_Z}]}}
    either = {"or_matcher": {"predicate": [when(header(), value_match={"exact": "b"}), IS_Z]}}
    tree = first_of((both, act("both")), (either, act("either")))
    assert [outcome(tree, "a"), outcome(tree, "a", "z"), outcome(tree, "b"), outcome(tree, "c")] == [
        "both",
        "either",
        "either",
        None,
    ]


def test_keep_matching() -> None:
    tree = first_of((IS_Z, act("kept", keep_matching=True)), (IS_Z, act("second")))
    noted: list[object] = []
    data = MatchingData(stream_info(), headers_of(("x-b", "z")))
    assert build(tree, keep_matching=True).evaluate(data, noted) == "second"
    assert noted == ["kept"]
    with pytest.raises(ConfigError, match="keep_matching is not supported in this context"):
        build(tree)


def ip_tree(exclusive_outer: bool = False) -> dict[str, object]:
    matcher = extension(
        "xds.type.matcher.v3.IPMatcher",
        range_matchers=[
            {
                "ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
                "on_match": act("wide"),
                "exclusive": exclusive_outer,
            },
            {"ranges": [{"address_prefix": "10.1.2.3", "prefix_len": 32}], "on_match": ONLY_Z},
        ],
    )
    return by(extension(NETWORK + "SourceIPInput"), custom_match=matcher, on_no_match=act("none"))


def test_ip_ranges() -> None:
    assert outcome(ip_tree()) == "wide"
    assert outcome(ip_tree(), b="z") == "nested"
    assert outcome(ip_tree(exclusive_outer=True)) == "none"
    other = MatchingData(stream_info("10.9.9.9"), headers_of())
    assert build(ip_tree(exclusive_outer=True)).evaluate(other) == "wide"
    assert build(ip_tree()).evaluate(MatchingData(stream_info("::1"), headers_of())) == "none"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.com", "exact"),
        ("x.com", "com"),
        ("q.a.com", "com"),
        (".com", "com"),
        ("com", "star"),
        ("A.COM", "star"),
        ("B.Com", "B"),
        ("b.com", "com"),
        ("", None),
    ],
)
def test_domains(name: str, expected: str | None) -> None:
    matcher = extension(
        "xds.type.matcher.v3.ServerNameMatcher",
        domain_matchers=[
            {"domains": ["a.com"], "on_match": act("exact")},
            {"domains": ["*.com"], "on_match": act("com")},
            {"domains": ["*.a.com"], "on_match": ONLY_Z},
            {"domains": ["B.Com"], "on_match": act("B")},
            {"domains": ["*"], "on_match": act("star")},
        ],
    )
    tree = by(header(), custom_match=matcher)
    assert outcome(tree, name) == expected
    if name == "q.a.com":
        assert outcome(tree, name, "z") == "nested"


def value_of(type_name: str, data: MatchingData, **fields: object) -> object:
    """The input's value, seen through a tree that maps it."""
    candidates = [
        "10.1.2.3",
        "10.9.9.9",
        "443",
        "40000",
        "local",
        "sni.test",
        "tls",
        "'h2','http/1.1'",
        "v",
        "200",
        "2xx",
        "a b",
    ]
    tree = by(extension(type_name, **fields), exact_match_map={"map": {each: act(each) for each in candidates}})
    return build(tree).evaluate(data)


def test_inputs() -> None:
    info = stream_info()
    info.connection.requested_server_name = "sni.test"
    info.connection.transport_protocol = "tls"
    info.connection.application_protocols = ["h2", "http/1.1"]
    info.filter_state = {"k": "v"}
    trailers = HeaderMap()
    trailers.add(b"t", b"v")
    data = MatchingData(info, headers_of(path="/?q=a%20b"), ResponseHeaderMap(status=200), trailers, trailers)
    http = "envoy.type.matcher.v3."
    assert value_of(NETWORK + "SourceIPInput", data) == "10.1.2.3"
    assert value_of(NETWORK + "DirectSourceIPInput", data) == "10.1.2.3"
    assert value_of(NETWORK + "DestinationIPInput", data) == "10.9.9.9"
    assert value_of(NETWORK + "DestinationPortInput", data) == "443"
    assert value_of(NETWORK + "SourcePortInput", data) == "40000"
    assert value_of(NETWORK + "SourceTypeInput", data) is None
    assert value_of(NETWORK + "SourceTypeInput", MatchingData(stream_info("127.0.0.1"))) == "local"
    assert value_of(NETWORK + "ServerNameInput", data) == "sni.test"
    assert value_of(NETWORK + "TransportProtocolInput", data) == "tls"
    assert value_of(NETWORK + "ApplicationProtocolInput", data) == "'h2','http/1.1'"
    assert value_of(NETWORK + "FilterStateInput", data, key="k") == "v"
    assert value_of(http + "HttpRequestQueryParamMatchInput", data, query_param="q") == "a b"
    assert value_of(http + "HttpResponseStatusCodeMatchInput", data) == "200"
    assert value_of(http + "HttpResponseStatusCodeClassMatchInput", data) == "2xx"
    assert value_of(http + "HttpRequestTrailerMatchInput", data, header_name="t") == "v"
    assert value_of(http + "HttpResponseTrailerMatchInput", data, header_name="T") == "v"
    assert value_of(http + "HttpResponseHeaderMatchInput", data, header_name="t") is None
    assert value_of("envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput", data) is None


def test_http_inputs_are_unknown_to_network_trees() -> None:
    with pytest.raises(ConfigError, match="Didn't find a registered implementation"):
        build(by(header(), exact_match_map={"map": {"a": act("A")}}), http=False)


def matched_by(type_name: str, value: str | None, **fields: object) -> bool:
    tree = first_of((when(header(), custom_match=extension(MATCHERS + type_name, **fields)), act("yes")))
    return outcome(tree, value) == "yes"


def test_input_matchers() -> None:
    ranges = [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
    assert matched_by("ip.v3.Ip", "10.1.1.1", cidr_ranges=ranges, stat_prefix="s")
    assert not matched_by("ip.v3.Ip", "11.1.1.1", cidr_ranges=ranges, stat_prefix="s")
    assert not matched_by("ip.v3.Ip", "x", cidr_ranges=ranges, stat_prefix="s")
    assert not matched_by("ip.v3.Ip", None, cidr_ranges=ranges, stat_prefix="s")
    hashes = [matched_by("consistent_hashing.v3.ConsistentHashing", str(i), threshold=3, modulo=10) for i in range(400)]
    assert 0.6 < sum(hashes) / 400 < 0.8
    assert matched_by("consistent_hashing.v3.ConsistentHashing", "x", threshold=0, modulo=1)


def test_metadata_matcher() -> None:
    info = stream_info()
    info.set_metadata("f", {"k": "v"})
    data_input = extension(NETWORK + "DynamicMetadataInput", filter="f", path=[{"key": "k"}])
    matcher = extension(MATCHERS + "metadata.v3.Metadata", value={"string_match": {"exact": "v"}})
    tree = build(first_of((when(data_input, custom_match=matcher), act("yes"))))
    assert tree.evaluate(MatchingData(info)) == "yes"
    assert tree.evaluate(MatchingData(stream_info())) is None


def test_refused() -> None:
    hashing = extension(MATCHERS + "consistent_hashing.v3.ConsistentHashing", threshold=3, modulo=2)
    with pytest.raises(ConfigError, match="threshold cannot be greater than modulo: 3 > 2"):
        build(first_of((when(header(), custom_match=hashing), act("x"))))
    cel = extension("xds.type.matcher.v3.HttpAttributesCelMatchInput")
    load_extensions()
    with pytest.raises(ConfigError, match="Unsupported data input type: cel_data_input, currently only string"):
        build(by(cel, exact_match_map={"map": {"a": act("A")}}))
