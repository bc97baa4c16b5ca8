"""The generic matcher tree (`xds.type.matcher.v3.Matcher`, `envoy.config.common.matcher.v3.Matcher`), compiled.

Source: Envoy documentation, "Matching API". What a branch leads to is an action (any object but None) or another tree;
a tree that finds nothing counts as no match of the branch that led to it, and the search goes on behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from outrider.matching.data import DataInput, InputMatcher, MatchingData
    from outrider.matching.string_matcher import StringMatcher


class OnMatch:
    """Where a branch leads."""

    __slots__ = ("action", "tree", "keep_matching")

    def __init__(self, action: object | None, tree: MatchTree | None, keep_matching: bool) -> None:
        self.action = action
        self.tree: MatchTree | None = tree
        # The outcome is noted, and the search goes on as if it had not matched.
        self.keep_matching = keep_matching

    def resolve(self, data: MatchingData, noted: list[object] | None) -> object | None:
        found = self.action if self.tree is None else self.tree.evaluate(data, noted)
        if found is not None and self.keep_matching:
            if noted is not None:
                noted.append(found)
            return None
        return found


@mypyc_attr(allow_interpreted_subclasses=True)
class MatchTree:
    """Base of all trees."""

    def __init__(self, on_no_match: OnMatch | None) -> None:
        self.on_no_match: OnMatch | None = on_no_match

    def evaluate(self, data: MatchingData, noted: list[object] | None = None) -> object | None:
        """The action for the data, or None. Outcomes of `keep_matching` branches are appended to `noted`."""
        found = self.search(data, noted)
        if found is None and self.on_no_match is not None:
            found = self.on_no_match.resolve(data, noted)
        return found

    def search(self, data: MatchingData, noted: list[object] | None) -> object | None:
        return None


class EmptyTree(MatchTree):
    """Neither list nor tree: only `on_no_match`."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Predicate:
    """A condition on the data."""

    def matches(self, data: MatchingData) -> bool:
        return False

    def describe(self) -> str:
        return "never"


class ValuePredicate(Predicate):
    """`value_match`: a string matcher on an input."""

    def __init__(self, data_input: DataInput, matcher: StringMatcher) -> None:
        self.input = data_input
        self.matcher = matcher

    def matches(self, data: MatchingData) -> bool:
        value = self.input.get(data)
        return isinstance(value, bytes) and self.matcher.matches(value)

    def describe(self) -> str:
        return f"{self.input.describe()} {self.matcher.describe()}"


class CustomPredicate(Predicate):
    """`custom_match`: an input matcher of its own."""

    def __init__(self, data_input: DataInput, matcher: InputMatcher) -> None:
        self.input = data_input
        self.matcher = matcher

    def matches(self, data: MatchingData) -> bool:
        return self.matcher.matches(self.input.get(data))

    def describe(self) -> str:
        return f"{self.input.describe()} {self.matcher.describe()}"


class AnyPredicate(Predicate):
    def __init__(self, predicates: list[Predicate]) -> None:
        self.predicates = predicates

    def matches(self, data: MatchingData) -> bool:
        for predicate in self.predicates:
            if predicate.matches(data):
                return True
        return False

    def describe(self) -> str:
        return "(" + " or ".join([predicate.describe() for predicate in self.predicates]) + ")"


class AllPredicate(Predicate):
    def __init__(self, predicates: list[Predicate]) -> None:
        self.predicates = predicates

    def matches(self, data: MatchingData) -> bool:
        for predicate in self.predicates:
            if not predicate.matches(data):
                return False
        return True

    def describe(self) -> str:
        return "(" + " and ".join([predicate.describe() for predicate in self.predicates]) + ")"


class NotPredicate(Predicate):
    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate

    def matches(self, data: MatchingData) -> bool:
        return not self.predicate.matches(data)

    def describe(self) -> str:
        return f"not {self.predicate.describe()}"


class ListTree(MatchTree):
    """`matcher_list`: the first branch whose predicate holds and that leads somewhere."""

    def __init__(self, branches: list[tuple[Predicate, OnMatch]], on_no_match: OnMatch | None) -> None:
        super().__init__(on_no_match)
        self.branches = branches

    def search(self, data: MatchingData, noted: list[object] | None) -> object | None:
        for predicate, on_match in self.branches:
            if predicate.matches(data):
                found = on_match.resolve(data, noted)
                if found is not None:
                    return found
        return None


class ExactTree(MatchTree):
    """`exact_match_map`"""

    def __init__(self, data_input: DataInput, branches: dict[bytes, OnMatch], on_no_match: OnMatch | None) -> None:
        super().__init__(on_no_match)
        self.input = data_input
        self.branches = branches

    def search(self, data: MatchingData, noted: list[object] | None) -> object | None:
        value = self.input.get(data)
        if isinstance(value, bytes):
            on_match = self.branches.get(value)
            if on_match is not None:
                return on_match.resolve(data, noted)
        return None


class PrefixTree(MatchTree):
    """`prefix_match_map`: the longest prefix that leads somewhere; one hash probe for each distinct length."""

    def __init__(self, data_input: DataInput, branches: dict[bytes, OnMatch], on_no_match: OnMatch | None) -> None:
        super().__init__(on_no_match)
        self.input = data_input
        self.branches = branches
        self.lengths: list[int] = sorted({len(prefix) for prefix in branches}, reverse=True)

    def search(self, data: MatchingData, noted: list[object] | None) -> object | None:
        value = self.input.get(data)
        if not isinstance(value, bytes):
            return None
        size = len(value)
        for length in self.lengths:
            if length <= size:
                on_match = self.branches.get(value[:length])
                if on_match is not None:
                    found = on_match.resolve(data, noted)
                    if found is not None:
                        return found
        return None
