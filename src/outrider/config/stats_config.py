"""`stats_config` (envoy.config.metrics.v3.StatsConfig): tags, matcher and histogram buckets.

`--stats-tag` belongs here too: its tags are fixed tags like those of `stats_tags`.
"""

from __future__ import annotations

from collections.abc import Sequence

from outrider.config.view import View
from outrider.stats.bins import DEFAULT_BUCKETS
from outrider.stats.policy import BucketSettings, MatchKind, NameMatcher, StatsMatcher, StatsPolicy
from outrider.stats.tags import (
    FixedTag,
    RegexExtractor,
    TagExtractor,
    TagProducer,
    default_extractors,
    default_extractors_named,
)


class StatsConfig:
    """What `stats_config` says: `policy` for the Store, `producer` for expositions and sinks."""

    __slots__ = ("policy", "producer")

    def __init__(self, policy: StatsPolicy, producer: TagProducer) -> None:
        self.policy = policy
        self.producer = producer

    @staticmethod
    def from_view(view: View | None, cli_tags: Sequence[tuple[str, str]] = ()) -> StatsConfig:
        """Read the message; None stands for one that is not set. Raises ConfigError."""
        if view is None:
            return StatsConfig(StatsPolicy(), TagProducer([*default_extractors(), *fixed_tags(cli_tags)]))
        matcher = view.message("stats_matcher")
        policy = StatsPolicy(
            read_stats_matcher(matcher) if matcher is not None else None,
            [read_bucket_settings(settings) for settings in view.messages("histogram_bucket_settings")],
        )
        return StatsConfig(policy, read_tags(view, cli_tags))


def fixed_tags(tags: Sequence[tuple[str, str]]) -> list[TagExtractor]:
    return [FixedTag(name, value) for name, value in tags]


def read_tags(view: View, cli_tags: Sequence[tuple[str, str]]) -> TagProducer:
    """All extractors in Envoy's order: defaults, the command line's, then `stats_tags`."""
    custom: list[TagExtractor] = []
    for specifier in view.messages("stats_tags"):
        name = specifier.text("tag_name")
        if not name:
            raise specifier.error("tag_name cannot be empty", "tag_name")
        if specifier.which("tag_value") == "fixed_value":
            custom.append(FixedTag(name, specifier.text("fixed_value")))
            continue
        pattern = specifier.text("regex")
        if pattern:
            try:
                custom.append(RegexExtractor(name, pattern))
            except ValueError as error:
                raise specifier.error(str(error), "regex") from error
            continue
        defaults = default_extractors_named(name)
        if not defaults:
            raise specifier.error(
                f"No regex specified for tag specifier and no default regex for name: '{name}'", "tag_name"
            )
        custom.extend(defaults)
    extractors = default_extractors() if view.flag("use_all_default_tags", default=True) else []
    if view.flag("allow_default_tag_overrides"):
        names = {extractor.name for extractor in custom}
        extractors = [extractor for extractor in extractors if extractor.name not in names]
    return TagProducer([*extractors, *fixed_tags(cli_tags), *custom])


def read_stats_matcher(view: View) -> StatsMatcher:
    """An envoy.config.metrics.v3.StatsMatcher; also found in listeners and clusters."""
    kind = view.which("stats_matcher")
    if kind == "reject_all":
        return StatsMatcher(inclusive=view.flag("reject_all"))
    if kind is None:
        return StatsMatcher()
    patterns = view.message(kind)
    assert patterns is not None
    matchers = [read_name_matcher(pattern) for pattern in patterns.messages("patterns")]
    return StatsMatcher(matchers, inclusive=kind == "inclusion_list")


def read_bucket_settings(view: View) -> BucketSettings:
    """One entry of `histogram_bucket_settings`."""
    match = view.message("match")
    assert match is not None
    # How many bins Envoy allocates at first: ours need none.
    view.accept("bins")
    return BucketSettings(read_name_matcher(match), view.numbers("buckets") or DEFAULT_BUCKETS)


def read_name_matcher(view: View) -> NameMatcher:
    """An envoy.type.matcher.v3.StringMatcher over stat names. Raises ConfigError."""
    field = view.which("match_pattern")
    ignore_case = view.flag("ignore_case")
    if field == "safe_regex":
        regex = view.message(field)
        assert regex is not None
        if regex.has("google_re2"):
            regex.accept("google_re2")
        try:
            return NameMatcher(MatchKind.REGEX, regex.text("regex"))
        except ValueError as error:
            raise regex.error(str(error), "regex") from error
    if field is None or field == "custom":
        # `custom` is left unread, so that it is refused by its path.
        return NameMatcher(MatchKind.EXACT, "")
    return NameMatcher(MatchKind(field), view.text(field), ignore_case)
