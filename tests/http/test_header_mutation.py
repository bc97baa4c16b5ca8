"""Header edits. Outcomes and messages are those of Envoy 1.40."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.access_log.context import FormatContext
from outrider.config.errors import ConfigError
from outrider.data.header_map import HeaderMap, RequestHeaderMap, ResponseHeaderMap
from outrider.data.inline_headers import add_field
from outrider.http.header_mutation import HeaderMutations, HeaderParser, parse_removals, translate_legacy_formats
from outrider.http.mutation_rules import ALLOW, FAIL, IGNORE, MutationRules
from tests.access_log import scene
from tests.config.messages import view_of

OPTION = "envoy.config.core.v3.HeaderValueOption"
MUTATION = "envoy.config.common.mutation_rules.v3.HeaderMutation"


def option(key: str, value: str = "", **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


def parser(*options: dict[str, Any], remove: tuple[str, ...] = ()) -> HeaderParser:
    views = [view_of(OPTION, tree) for tree in options]
    made = HeaderParser.from_views(views, remove)
    assert not [path for view in views for path in view.unread()]
    return made


def request(*fields: tuple[bytes, bytes]) -> RequestHeaderMap:
    return scene.request_headers(b"/", *fields)


def edited(headers: HeaderMap, *options: dict[str, Any], remove: tuple[str, ...] = ()) -> list[tuple[bytes, bytes]]:
    context = scene.proxied()
    if isinstance(headers, RequestHeaderMap):
        context.request_headers = headers
    elif isinstance(headers, ResponseHeaderMap):
        context.response_headers = headers
    parser(*options, remove=remove).evaluate_headers(headers, context)
    return headers.items()


def test_overwritten_fields_then_added_ones_from_what_was_received() -> None:
    fields = edited(
        request((b"x-in", b"1"), (b"x-in2", b"a"), (b"x-in2", b"b"), (b"x-keep", b"k"), (b"x-rm", b"gone")),
        option("x-a", "%REQ(x-b)%-%REQ(x-in)%"),
        option("x-b", "2", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
        option("x-c", "%REQ(x-b)%", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
        option("x-in", "more"),
        option("x-in2", "ow", append_action="OVERWRITE_IF_EXISTS"),
        option("x-no", "ow", append_action="OVERWRITE_IF_EXISTS"),
        option("x-keep", "%REQ(nope)%", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
        option("x-in", "3", append_action="ADD_IF_ABSENT"),
        option("x-rm", "%REQ(x-rm)%again"),
        remove=("x-rm",),
    )
    assert fields == [
        (b"x-in", b"1"),
        (b"x-in", b"more"),
        (b"x-keep", b"k"),
        (b"x-b", b"2"),
        (b"x-in2", b"ow"),
        (b"x-a", b"-1"),
        (b"x-rm", b"again"),
    ]


def test_add_if_absent_looks_at_what_was_received() -> None:
    one = option("x-abs", "1", append_action="ADD_IF_ABSENT")
    two = option("x-abs", "2", append_action="ADD_IF_ABSENT")
    assert edited(request(), one, two) == [(b"x-abs", b"1"), (b"x-abs", b"2")]


def test_empty_values() -> None:
    fields = edited(
        request(),
        option("x-empty", ""),
        option("x-empty-keep", "", keep_empty_value=True),
        option("x-unset", "%REQ(nope)%"),
        option("x-unset-keep", "%REQ(nope)%", keep_empty_value=True),
        option("x-mix", "a%REQ(nope)%b"),
    )
    assert fields == [(b"x-empty-keep", b""), (b"x-unset-keep", b""), (b"x-mix", b"ab")]


def test_deprecated_append() -> None:
    fields = edited(request((b"x", b"0"), (b"y", b"0")), option("x", "1", append=True), option("y", "1", append=False))
    assert fields == [(b"x", b"0"), (b"x", b"1"), (b"y", b"1")]


def test_names_are_lower_case_and_values_keep_their_spaces() -> None:
    assert edited(request(), option("X-Up", "  a  "), option("x-pct", "100%%")) == [
        (b"x-up", b"  a  "),
        (b"x-pct", b"100%"),
    ]


def test_raw_values_are_not_looked_at() -> None:
    tree = option("x", "val")
    tree["header"]["raw_value"] = "cmF3"
    assert edited(request(), tree) == [(b"x", b"val")]


def test_fields_with_one_value_are_joined() -> None:
    fields = edited(
        request((b"accept", b"a0"), (b"cookie", b"c0")),
        option("accept", "p1"),
        option("accept", "p2"),
        option("cookie", "p1"),
        option("accept-language", "p1"),
        option("accept-language", "p2"),
        option("x-forwarded-for", "p1"),
    )
    assert fields == [
        (b"accept", b"a0,p1,p2"),
        (b"cookie", b"c0"),
        (b"cookie", b"p1"),
        (b"accept-language", b"p1"),
        (b"accept-language", b"p2"),
        (b"x-forwarded-for", b"p1"),
    ]
    # Which fields these are depends on the kind of message.
    response = ResponseHeaderMap({b"vary": b"v1", b"accept": b"a"}, status=200)
    assert edited(response, option("vary", "v2"), option("accept", "b")) == [
        (b"vary", b"v1,v2"),
        (b"accept", b"a"),
        (b"accept", b"b"),
    ]
    trailers = HeaderMap({b"via": b"a"})
    add_field(trailers, b"via", b"b")
    assert trailers.items() == [(b"via", b"a"), (b"via", b"b")]


def test_response_values() -> None:
    response = ResponseHeaderMap({b"x-r": b"up"}, status=404)
    assert edited(response, option("x-resp", "%RESP(x-r)%|%RESP(:status)%|%REQ(:method)%|%RESPONSE_FLAGS%")) == [
        (b"x-r", b"up"),
        (b"x-resp", b"up|404|GET|-"),
    ]


def test_constant_values_are_not_formatted() -> None:
    made = parser(option("x", "plain"), option("y", "%PROTOCOL%"))
    assert [addition.constant for addition in made.additions] == [b"plain", None]
    assert not made.empty
    assert parser().empty
    assert HeaderParser([], [b"x"]).empty is False


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('%UPSTREAM_METADATA(["ns", "k"])%', "%UPSTREAM_METADATA(ns:k)%"),
        ('a%DYNAMIC_METADATA(["ns","k","z"])%b', "a%DYNAMIC_METADATA(ns:k:z)%b"),
        ('%UPSTREAM_METADATA(["ns")%', '%UPSTREAM_METADATA(["ns")%'),
        ("%UPSTREAM_METADATA([3])%", "%UPSTREAM_METADATA([3])%"),
        ('%CLUSTER_METADATA(["ns","k"])%', '%CLUSTER_METADATA(["ns","k"])%'),
        ("x%PER_REQUEST_STATE(k)%", "x%FILTER_STATE(k:PLAIN)%"),
    ],
)
def test_older_notations(old: str, new: str) -> None:
    assert translate_legacy_formats(old) == new


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (option(":path", "/x"), ":-prefixed or host headers may not be modified"),
        (option(":foo", "x"), ":-prefixed or host headers may not be modified"),
        (option("Host", "x"), ":-prefixed or host headers may not be modified"),
        (option("a", "%FOO%"), "header.value: Not supported field in StreamInfo: FOO"),
        (option("a", "100%"), "Couldn't find valid command at position 3"),
        (
            option("x", "y", append=True, append_action="ADD_IF_ABSENT"),
            "Both append and append_action are set and it's not allowed",
        ),
        ({}, "header: value is required"),
    ],
)
def test_refused(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parser(tree)


@pytest.mark.parametrize("name", ["host", "Host", ":path", ":status"])
def test_names_that_may_not_be_removed(name: str) -> None:
    with pytest.raises(ConfigError, match=":-prefixed or host headers may not be removed"):
        parse_removals([name])
    assert parse_removals(["X-A"]) == [b"x-a"]


def mutations(*trees: dict[str, Any]) -> HeaderMutations:
    return HeaderMutations.from_views([view_of(MUTATION, tree) for tree in trees])


def test_mutations_see_what_those_before_them_did() -> None:
    headers = request(
        (b"x-in", b"0"), (b"x-ow", b"o"), (b"y-a", b"1"), (b"y-b", b"2"), (b"user-agent", b"u"), (b"accept", b"a")
    )
    context = scene.proxied()
    context.request_headers = headers
    mutations(
        {"append": option("x-1", "a")},
        {"append": option("x-2", "%REQ(x-1)%-%REQ(x-in)%")},
        {"append": option("x-in", "b")},
        {"append": option("x-3", "%REQ(x-in)%")},
        {"remove": "X-In"},
        {"append": option("x-4", "%REQ(x-in)%|")},
        {"append": option("x-5", "1", append_action="ADD_IF_ABSENT")},
        {"append": option("x-5", "2", append_action="ADD_IF_ABSENT")},
        {"append": option("x-5", "3", append_action="OVERWRITE_IF_EXISTS_OR_ADD")},
        {"append": option("x-e", "")},
        {"append": option("x-e2", "", keep_empty_value=True)},
        {"append": option("x-ow", "n", append_action="OVERWRITE_IF_EXISTS")},
        {"append": option("x-ow2", "n", append_action="OVERWRITE_IF_EXISTS")},
        {"remove_on_match": {"key_matcher": {"prefix": "y-"}}},
        {"append": option("user-agent", "u2")},
        {"append": option("accept", "z")},
        {"append": option("Y-New", "Up")},
    ).evaluate_headers(headers, context)
    assert headers.items() == [
        (b"user-agent", b"u,u2"),
        (b"accept", b"a,z"),
        (b"x-1", b"a"),
        (b"x-2", b"a-0"),
        (b"x-3", b"0"),
        (b"x-4", b"|"),
        (b"x-5", b"3"),
        (b"x-e2", b""),
        (b"x-ow", b"n"),
        (b"y-new", b"Up"),
    ]


def test_mutations_may_remove_the_host() -> None:
    headers = request()
    mutations({"remove": "host"}).evaluate_headers(headers, FormatContext(scene.stream_info(), headers))
    assert headers.authority == b""


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "an action is required"),
        ({"append": option("host", "x")}, ":-prefixed or host headers may not be modified"),
        ({"append": option("a", "%FOO%")}, "Not supported field in StreamInfo: FOO"),
        ({"remove_on_match": {}}, "key_matcher: value is required"),
    ],
)
def test_refused_mutations(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mutations(tree)


def rules(**fields: Any) -> MutationRules:
    view = view_of("envoy.config.common.mutation_rules.v3.HeaderMutationRules", fields)
    made = MutationRules.from_view(view)
    assert not view.unread()
    return made


def test_mutation_rules() -> None:
    default = rules()
    assert default.check(b"x-anything") == ALLOW
    assert default.check(b"host") == IGNORE
    assert default.check(b":method") == IGNORE
    assert default.check(b":path") == ALLOW
    assert default.check(b"x-envoy-foo") == IGNORE
    assert rules(allow_envoy=True).check(b"x-envoy-foo") == ALLOW
    assert rules(allow_all_routing=True).check(b"host") == ALLOW
    assert rules(allow_all_routing=True).check(b"host", remove=True) == IGNORE
    assert rules(disallow_system=True, disallow_is_error=True).check(b":path") == FAIL
    everything = rules(disallow_all=True, allow_expression={"regex": "x-.*"})
    assert everything.check(b"x-a") == ALLOW
    assert everything.check(b"y") == IGNORE
    assert rules(disallow_expression={"regex": "x-.*"}, allow_envoy=True).check(b"x-envoy-foo") == IGNORE
