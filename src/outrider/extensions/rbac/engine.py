"""RBAC engines: the verdict of policies, or of a matcher tree, on a request or connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from outrider.cel.attributes import Attributes
from outrider.cel.config import expression_field
from outrider.extensions.rbac.conditions import All, AnyOf, Condition, Subject
from outrider.extensions.rbac.permissions import PermissionParser
from outrider.extensions.rbac.principals import PrincipalParser

# Imported so that they are registered.
from outrider.matching import input_matchers as _input_matchers  # noqa: F401
from outrider.matching import inputs as _inputs  # noqa: F401
from outrider.matching import tls_inputs as _tls_inputs  # noqa: F401
from outrider.matching.data import MatchingData
from outrider.matching.tree import MatchTree
from outrider.matching.tree_loader import ActionLoader, load_tree

if TYPE_CHECKING:
    from outrider.cel.program import CelProgram
    from outrider.config.view import View

ACTION_TYPE: Final = "envoy.config.rbac.v3.Action"
ALLOW: Final = 0
DENY: Final = 1
LOG: Final = 2
_ACTIONS: Final[dict[str, int]] = {"ALLOW": ALLOW, "DENY": DENY, "LOG": LOG}
_SPACE: Final = re.compile(r"\s")


class Verdict:
    """`policy`: the policy or rule that decided, empty when none matched."""

    __slots__ = ("allowed", "policy")

    def __init__(self, allowed: bool, policy: str) -> None:
        self.allowed = allowed
        self.policy = policy


@mypyc_attr(allow_interpreted_subclasses=True)
class Engine:
    """`enforced`: the verdict counts; else it is only told. A LOG rule then leaves no hint for the access log."""

    def __init__(self, enforced: bool) -> None:
        self.enforced = enforced

    def judge(self, subject: Subject) -> Verdict:
        raise NotImplementedError

    def hint(self, subject: Subject, log: bool) -> None:
        """`envoy.common: access_log_hint`"""
        if self.enforced:
            subject.info.set_metadata("envoy.common", {"access_log_hint": log})


class PolicyEngine(Engine):
    """`RBAC`: one action for all policies, which are tried in the order of their names."""

    def __init__(self, enforced: bool, action: int, policies: list[tuple[str, Condition]]) -> None:
        super().__init__(enforced)
        self.action = action
        self.policies = policies

    def judge(self, subject: Subject) -> Verdict:
        matched = False
        policy = ""
        for name, condition in self.policies:
            if condition.matches(subject):
                matched = True
                policy = name
                break
        if self.action == LOG:
            self.hint(subject, matched)
            return Verdict(True, policy)
        return Verdict(matched == (self.action == ALLOW), policy)


class RuleAction:
    """`config.rbac.v3.Action`"""

    __slots__ = ("name", "action")

    def __init__(self, name: str, action: int) -> None:
        self.name = name
        self.action = action


class MatcherEngine(Engine):
    """A matcher tree; what it does not match is denied."""

    def __init__(self, enforced: bool, tree: MatchTree, has_log: bool) -> None:
        super().__init__(enforced)
        self.tree = tree
        self.has_log = has_log

    def judge(self, subject: Subject) -> Verdict:
        found = self.tree.evaluate(MatchingData(subject.info, subject.headers))
        if not isinstance(found, RuleAction):
            return Verdict(False, "")
        if self.has_log:
            self.hint(subject, found.action == LOG)
        return Verdict(found.action != DENY, found.name)


class _RuleActionLoader(ActionLoader):
    def __init__(self) -> None:
        self.has_log = False

    def load(self, action: View) -> object:
        action.text("name")
        config = action.any("typed_config")
        if config.type_name != ACTION_TYPE:
            raise action.error(
                f"Didn't find a registered implementation for '{action.text('name')}' with type URL: "
                f"'{config.type_name}'",
                "typed_config",
            )
        made = RuleAction(config.text("name"), _ACTIONS[config.enum("action")])
        if made.action == LOG:
            self.has_log = True
        return made


def response_details(policy: str) -> str:
    """`rbac_access_denied_matched_policy[...]`"""
    return f"rbac_access_denied_matched_policy[{_SPACE.sub('_', policy) if policy else 'none'}]"


class ExpressionCondition(Condition):
    """`Policy.condition`: an expression that must be true as well."""

    def __init__(self, program: CelProgram) -> None:
        self.program = program

    def matches(self, subject: Subject) -> bool:
        return self.program.is_true(Attributes(subject.info, subject.headers))


def _expression(policy: View) -> Condition | None:
    config = policy.message("cel_config")
    for field in ("condition", "checked_condition"):
        program = expression_field(policy, field, config)
        if program is not None:
            return ExpressionCondition(program)
    return None


def load_engine(
    view: View, rules_field: str, matcher_field: str, enforced: bool, context: Any, http: bool
) -> Engine | None:
    """The engine of a filter configuration; None without rules. A matcher goes before rules. Raises ConfigError."""
    matcher = view.message(matcher_field)
    if matcher is not None:
        if view.has(rules_field):
            # Envoy: "RBAC rules are ignored when matcher is configured".
            view.accept(rules_field)
        actions = _RuleActionLoader()
        tree = load_tree(matcher, actions, context, http)
        return MatcherEngine(enforced, tree, actions.has_log)
    rules = view.message(rules_field)
    if rules is None:
        return None
    permissions = PermissionParser(context, http)
    principals = PrincipalParser(context, http)
    policies: list[tuple[str, Condition]] = []
    for name, policy in rules.message_map("policies").items():
        what = AnyOf([permissions.parse(each) for each in policy.messages("permissions")])
        who = AnyOf([principals.parse(each) for each in policy.messages("principals")])
        conditions: list[Condition] = [what, who]
        expression = _expression(policy)
        if expression is not None:
            conditions.append(expression)
        policies.append((name, All(conditions)))
    return PolicyEngine(enforced, _ACTIONS[rules.enum("action")], policies)
