"""Counters of RBAC filters, and the names under which they leave verdicts in metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.stats.metrics import Counter
    from outrider.stats.store import Scope


class RbacStats:
    """Counters below `<scope>rbac.`; `rules` and `shadow` are prefixes, with or without their dot."""

    __slots__ = ("allowed", "denied", "shadow_allowed", "shadow_denied", "_scope", "_rules", "_shadow", "_policies")

    def __init__(self, scope: Scope, rules: str, shadow: str) -> None:
        own = scope.scope("rbac.")
        rules = rules + "." if rules and not rules.endswith(".") else rules
        shadow = shadow + "." if shadow and not shadow.endswith(".") else shadow
        self.allowed: Counter = own.counter(rules + "allowed")
        self.denied: Counter = own.counter(rules + "denied")
        self.shadow_allowed: Counter = own.counter(shadow + "shadow_allowed")
        self.shadow_denied: Counter = own.counter(shadow + "shadow_denied")
        self._scope = own
        self._rules = rules
        self._shadow = shadow
        # `track_per_rule_stats`: made when first needed, bounded by the number of policies.
        self._policies: dict[str, Counter] = {}

    def count(self, allowed: bool, policy: str, per_rule: bool) -> None:
        (self.allowed if allowed else self.denied).inc()
        if per_rule and policy:
            self._policy(self._rules, policy, "allowed" if allowed else "denied").inc()

    def count_shadow(self, allowed: bool, policy: str, per_rule: bool) -> None:
        (self.shadow_allowed if allowed else self.shadow_denied).inc()
        if per_rule and policy:
            self._policy(self._shadow, policy, "shadow_allowed" if allowed else "shadow_denied").inc()

    def _policy(self, prefix: str, policy: str, what: str) -> Counter:
        name = f"{prefix}policy.{policy}.{what}"
        counter = self._policies.get(name)
        if counter is None:
            counter = self._policies[name] = self._scope.counter(name)
        return counter
