"""`config_validators` of an ApiConfigSource: what may refuse an update before anybody sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from outrider.config.subscription import Resource
from outrider.registry import ExtensionRegistry


class ConfigValidator:
    """Looks at updates of one type. `type_name`: the full name of its messages."""

    type_name: str = ""

    def check(self, resources: Sequence[Resource], names: set[str]) -> None:
        """`resources`: what is new or changed; `names`: all that would be there afterwards. Raises ConfigError."""
        raise NotImplementedError


CONFIG_VALIDATORS: Final = ExtensionRegistry[ConfigValidator]("envoy.config.validators")
