"""Builds matcher trees from configuration; the registries of inputs and of input matchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.matching.cidr import CidrRange, parse_cidr_range
from outrider.matching.custom_trees import DomainTree, IpRangeBranch, IpTree
from outrider.matching.data import DataInput, InputMatcher
from outrider.matching.string_matcher import parse_string_matcher
from outrider.matching.tree import (
    AllPredicate,
    AnyPredicate,
    CustomPredicate,
    EmptyTree,
    ExactTree,
    ListTree,
    MatchTree,
    NotPredicate,
    OnMatch,
    Predicate,
    PrefixTree,
    ValuePredicate,
)
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View

HTTP_INPUTS: Final[ExtensionRegistry[DataInput]] = ExtensionRegistry("envoy.matching.http.input")
NETWORK_INPUTS: Final[ExtensionRegistry[DataInput]] = ExtensionRegistry("envoy.matching.network.input")
COMMON_INPUTS: Final[ExtensionRegistry[DataInput]] = ExtensionRegistry("envoy.matching.common_inputs")
INPUT_MATCHERS: Final[ExtensionRegistry[InputMatcher]] = ExtensionRegistry("envoy.matching.input_matchers")

_IP_MATCHER: Final = "xds.type.matcher.v3.IPMatcher"
_DOMAIN_MATCHER: Final = "xds.type.matcher.v3.ServerNameMatcher"


@mypyc_attr(allow_interpreted_subclasses=True)
class ActionLoader:
    """Makes the actions of a tree. Each user of trees has its own."""

    def load(self, action: View) -> object:
        """From the TypedExtensionConfig of an action; never None. Raises ConfigError."""
        raise NotImplementedError

    def check_input(self, data_input: View, type_name: str) -> None:
        """Raise ConfigError for an input that makes no sense to this user of trees."""


def load_tree(
    view: View, actions: ActionLoader, context: Any, http: bool = True, keep_matching: bool = False
) -> MatchTree:
    """From a Matcher (xds's or Envoy's older one). Raises ConfigError.

    `http`: inputs of requests may be used. `keep_matching`: the user of the tree makes sense of that field.
    """
    return _TreeLoader(actions, context, http, keep_matching).tree(view)


class _TreeLoader:
    def __init__(self, actions: ActionLoader, context: Any, http: bool, keep_matching: bool) -> None:
        self.actions = actions
        self.keep_matching = keep_matching
        self.context = context
        self.registries: list[ExtensionRegistry[DataInput]] = [NETWORK_INPUTS, COMMON_INPUTS]
        if http:
            self.registries.insert(0, HTTP_INPUTS)

    def tree(self, view: View) -> MatchTree:
        no_match_view = view.message("on_no_match")
        on_no_match = None if no_match_view is None else self.on_match(no_match_view)
        kind = view.which("matcher_type")
        if kind == "matcher_list":
            list_view = view.message(kind)
            assert list_view is not None
            branches = [
                (self._predicate(self._required(each, "predicate")), self.on_match(self._required(each, "on_match")))
                for each in list_view.messages("matchers")
            ]
            return ListTree(branches, on_no_match)
        if kind == "matcher_tree":
            tree_view = view.message(kind)
            assert tree_view is not None
            return self._map(tree_view, on_no_match)
        return EmptyTree(on_no_match)

    def on_match(self, view: View) -> OnMatch:
        kind = view.which("on_match")
        keep_matching = view.flag("keep_matching")
        if keep_matching and not self.keep_matching:
            raise view.error("keep_matching is not supported in this context", "keep_matching")
        if kind == "matcher":
            inner = view.message(kind)
            assert inner is not None
            return OnMatch(None, self.tree(inner), keep_matching)
        if kind == "action":
            action = view.message(kind)
            assert action is not None
            return OnMatch(self.actions.load(action), None, keep_matching)
        raise view.error("value is required", "on_match")

    @staticmethod
    def _required(view: View, name: str) -> View:
        found = view.message(name)
        if found is None:
            raise view.error("value is required", name)
        return found

    def _map(self, view: View, on_no_match: OnMatch | None) -> MatchTree:
        data_input = self._input(self._required(view, "input"))
        kind = view.which("tree_type")
        if kind is None:
            raise view.error("value is required", "tree_type")
        inner = view.message(kind)
        assert inner is not None
        if kind == "custom_match":
            return self._custom(inner, data_input, on_no_match)
        branches = {
            key.encode("utf-8", "surrogateescape"): self.on_match(each)
            for key, each in inner.message_map("map").items()
        }
        if data_input.data_type() != "string":
            raise view.error(
                f"Unsupported data input type: {data_input.data_type()}, currently only string type is supported in "
                "map matcher",
                "input",
            )
        if kind == "exact_match_map":
            return ExactTree(data_input, branches, on_no_match)
        return PrefixTree(data_input, branches, on_no_match)

    def _custom(self, view: View, data_input: DataInput, on_no_match: OnMatch | None) -> MatchTree:
        name = view.text("name")
        type_name = view.any_type("typed_config")
        if type_name == _IP_MATCHER:
            ranges: list[tuple[CidrRange, IpRangeBranch]] = []
            for each in view.any("typed_config").messages("range_matchers"):
                branch = IpRangeBranch(self.on_match(self._required(each, "on_match")), each.flag("exclusive"))
                ranges.extend([(parse_cidr_range(cidr), branch) for cidr in each.messages("ranges")])
            return IpTree(data_input, ranges, on_no_match)
        if type_name == _DOMAIN_MATCHER:
            branches: dict[bytes, OnMatch] = {}
            for each in view.any("typed_config").messages("domain_matchers"):
                on_match = self.on_match(self._required(each, "on_match"))
                for domain in each.texts("domains"):
                    key = _domain_key(each, domain)
                    if key in branches:
                        raise each.error(f"Duplicate domain in ServerNameMatcher: {domain}", "domains")
                    branches[key] = on_match
            return DomainTree(data_input, branches, on_no_match)
        raise view.error(
            f"Didn't find a registered implementation for '{name}' with type URL: '{type_name}'", "typed_config"
        )

    def _predicate(self, view: View) -> Predicate:
        kind = view.which("match_type")
        if kind is None:
            raise view.error("value is required", "match_type")
        inner = view.message(kind)
        assert inner is not None
        if kind == "not_matcher":
            return NotPredicate(self._predicate(inner))
        if kind == "or_matcher":
            return AnyPredicate([self._predicate(each) for each in inner.messages("predicate")])
        if kind == "and_matcher":
            return AllPredicate([self._predicate(each) for each in inner.messages("predicate")])
        data_input = self._input(self._required(inner, "input"))
        how = inner.which("matcher")
        if how == "value_match":
            text = inner.message(how)
            assert text is not None
            self._check_type(inner, data_input, "string")
            return ValuePredicate(data_input, parse_string_matcher(text, self.context))
        if how == "custom_match":
            custom = inner.message(how)
            assert custom is not None
            matcher = INPUT_MATCHERS.create(custom, self.context)
            self._check_type(inner, data_input, matcher.wanted_type())
            return CustomPredicate(data_input, matcher)
        raise inner.error("value is required", "matcher")

    @staticmethod
    def _check_type(view: View, data_input: DataInput, wanted: str) -> None:
        if data_input.data_type() != wanted:
            raise view.error(f"Unsupported data input type: {data_input.data_type()}", "input")

    def _input(self, view: View) -> DataInput:
        type_name = view.any_type("typed_config")
        self.actions.check_input(view, type_name)
        for registry in self.registries:
            if registry.find(type_name) is not None:
                return registry.create(view, self.context)
        return self.registries[0].create(view, self.context)


def _domain_key(view: View, domain: str) -> bytes:
    if domain == "*":
        return b"*"
    rest = domain[1:] if domain.startswith("*.") else domain
    if "*" in rest:
        raise view.error(f"Invalid wildcard domain format: {domain}", "domains")
    return rest.encode()
