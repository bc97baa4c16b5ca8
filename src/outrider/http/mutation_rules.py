"""`HeaderMutationRules`: which fields somebody outside (an external processor) may change.

Source: Envoy documentation, `envoy.config.common.mutation_rules.v3.HeaderMutationRules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.matching.regex import Regex

# What to do with a mutation.
ALLOW: Final = 0
IGNORE: Final = 1
FAIL: Final = 2

_ROUTING: Final = (b"host", b":authority", b":scheme", b":method")


class MutationRules:
    """The rules of one service."""

    __slots__ = (
        "allow_all_routing", "allow_envoy", "disallow_system", "disallow_all", "allow_expression",
        "disallow_expression", "disallow_is_error", "envoy_prefix",
    )  # fmt: skip

    def __init__(self) -> None:
        # `host`, `:authority`, `:scheme` and `:method` may change, too.
        self.allow_all_routing: bool = False
        # `x-envoy-*` may change, too.
        self.allow_envoy: bool = False
        # No field that starts with a colon may change.
        self.disallow_system: bool = False
        self.disallow_all: bool = False
        self.allow_expression: Regex | None = None
        self.disallow_expression: Regex | None = None
        self.disallow_is_error: bool = False
        self.envoy_prefix: bytes = b"x-envoy"

    @classmethod
    def from_view(cls, view: View) -> MutationRules:
        """Raises ConfigError."""
        from outrider.matching.regex import parse_regex

        rules = cls()
        rules.allow_all_routing = view.flag("allow_all_routing")
        rules.allow_envoy = view.flag("allow_envoy")
        rules.disallow_system = view.flag("disallow_system")
        rules.disallow_all = view.flag("disallow_all")
        rules.disallow_is_error = view.flag("disallow_is_error")
        allow = view.message("allow_expression")
        if allow is not None:
            rules.allow_expression = parse_regex(allow)
        disallow = view.message("disallow_expression")
        if disallow is not None:
            rules.disallow_expression = parse_regex(disallow)
        return rules

    def check(self, name: bytes, remove: bool = False) -> int:
        """ALLOW, or what to do with a forbidden change of the field `name` (lower-case)."""
        if self._allowed(name) and not (remove and (name[:1] == b":" or name == b"host")):
            return ALLOW
        return FAIL if self.disallow_is_error else IGNORE

    def _allowed(self, name: bytes) -> bool:
        expression = self.disallow_expression
        if expression is not None and expression.full_match(name):
            return False
        expression = self.allow_expression
        if expression is not None and expression.full_match(name):
            return True
        if self.disallow_all:
            return False
        if name in _ROUTING:
            return self.allow_all_routing and not (self.disallow_system and name[:1] == b":")
        if self.disallow_system and name[:1] == b":":
            return False
        return self.allow_envoy or not name.startswith(self.envoy_prefix)
