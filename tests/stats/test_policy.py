"""stats_config's matcher and bucket settings."""

import pytest

from outrider.stats.bins import DEFAULT_BUCKETS
from outrider.stats.policy import BucketSettings, MatchKind, NameMatcher, StatsMatcher, StatsPolicy


@pytest.mark.parametrize(
    ("kind", "text", "yes", "no"),
    [
        (MatchKind.EXACT, "a.b", "a.b", "a.bc"),
        (MatchKind.PREFIX, "a.", "a.b", "b.a."),
        (MatchKind.SUFFIX, ".b", "a.b", "a.b.c"),
        (MatchKind.CONTAINS, ".x.", "a.x.b", "a.x"),
        (MatchKind.REGEX, r"a\.(b|c)", "a.c", "a.cd"),
    ],
)
def test_matchers(kind: MatchKind, text: str, yes: str, no: str) -> None:
    matcher = NameMatcher(kind, text)
    assert matcher.matches(yes)
    assert not matcher.matches(no)
    if kind is not MatchKind.REGEX:
        assert not matcher.matches(yes.upper())
        assert NameMatcher(kind, text.upper(), ignore_case=True).matches(yes)


def test_a_bad_regex_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="missing"):
        NameMatcher(MatchKind.REGEX, "a[")


def test_exclusion_inclusion_and_reject_all() -> None:
    matchers = [NameMatcher(MatchKind.PREFIX, "a."), NameMatcher(MatchKind.PREFIX, "b.")]
    exclusion = StatsMatcher(matchers)
    inclusion = StatsMatcher(matchers, inclusive=True)
    for name, listed in (("a.x", True), ("b.x", True), ("c.x", False)):
        assert exclusion.rejects(name) is listed
        assert inclusion.rejects(name) is not listed
    assert StatsMatcher(inclusive=True).rejects("anything")
    assert not StatsPolicy().rejects("anything")


def test_first_matching_bucket_settings_win_in_ascending_order() -> None:
    policy = StatsPolicy(
        None,
        [
            BucketSettings(NameMatcher(MatchKind.PREFIX, "a"), [5, 1]),
            BucketSettings(NameMatcher(MatchKind.PREFIX, ""), [7]),
        ],
    )
    assert policy.buckets("abc") == (1, 5)
    assert policy.buckets("x") == (7,)
    assert StatsPolicy().buckets("x") == DEFAULT_BUCKETS
