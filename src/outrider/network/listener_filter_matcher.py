"""`envoy.config.listener.v3.ListenerFilterChainMatchPredicate`: for which connections a listener filter is left out."""

from __future__ import annotations

from outrider.config.view import View
from outrider.data.stream_info import ConnectionInfo
from outrider.network.listener_filter import ListenerFilterMatcher


class _Any(ListenerFilterMatcher):
    def matches(self, info: ConnectionInfo) -> bool:
        return True


class _Not(ListenerFilterMatcher):
    def __init__(self, inner: ListenerFilterMatcher) -> None:
        self.inner = inner

    def matches(self, info: ConnectionInfo) -> bool:
        return not self.inner.matches(info)


class _AllOf(ListenerFilterMatcher):
    def __init__(self, rules: list[ListenerFilterMatcher]) -> None:
        self.rules = rules

    def matches(self, info: ConnectionInfo) -> bool:
        return all([rule.matches(info) for rule in self.rules])


class _OneOf(ListenerFilterMatcher):
    def __init__(self, rules: list[ListenerFilterMatcher]) -> None:
        self.rules = rules

    def matches(self, info: ConnectionInfo) -> bool:
        return any([rule.matches(info) for rule in self.rules])


class _DestinationPorts(ListenerFilterMatcher):
    def __init__(self, start: int, end: int) -> None:
        self.start = start
        # Exclusive.
        self.end = end

    def matches(self, info: ConnectionInfo) -> bool:
        return self.start <= info.local_address.port < self.end


def read_matcher(view: View) -> ListenerFilterMatcher:
    """Raises ConfigError for a predicate without a rule."""
    rule = view.which("rule")
    if rule in ("or_match", "and_match"):
        group = view.message(rule)
        assert group is not None
        rules = [read_matcher(each) for each in group.messages("rules")]
        return _OneOf(rules) if rule == "or_match" else _AllOf(rules)
    if rule == "not_match":
        inner = view.message("not_match")
        assert inner is not None
        return _Not(read_matcher(inner))
    if rule == "any_match":
        view.flag("any_match")
        return _Any()
    if rule == "destination_port_range":
        ports = view.message("destination_port_range")
        assert ports is not None
        return _DestinationPorts(ports.integer("start"), ports.integer("end"))
    raise view.error("has no rule")
