"""Per-filter configuration of a route: what `typed_per_filter_config` says on each level.

Source: Envoy documentation, "HTTP filters: route based filter chain", `config.route.v3.FilterConfig`.
"""

from __future__ import annotations

from typing import Final


class FilterConfigs:
    """Resolved over all levels when configuration loads; most routes share their virtual host's object."""

    __slots__ = ("levels", "flags")

    def __init__(self, levels: dict[str, list[object]], flags: dict[str, int]) -> None:
        # Filter name -> configurations, least specific first.
        self.levels = levels
        # Filter name -> 0 enabled, 1 disabled.
        self.flags = flags

    def most_specific(self, filter_name: str) -> object | None:
        found = self.levels.get(filter_name)
        return None if found is None else found[-1]

    def all(self, filter_name: str) -> list[object]:
        found = self.levels.get(filter_name)
        return _NOTHING if found is None else found

    def disabled(self, filter_name: str) -> int:
        return self.flags.get(filter_name, -1)

    def has_switches(self) -> bool:
        """Whether some filter is switched on or off here."""
        return len(self.flags) > 0

    def below(self, configs: dict[str, object], flags: dict[str, int]) -> FilterConfigs:
        """These with a more specific level added."""
        if not configs and not flags:
            return self
        levels = dict(self.levels)
        for name, config in configs.items():
            levels[name] = [*levels.get(name, ()), config]
        return FilterConfigs(levels, {**self.flags, **flags})


_NOTHING: Final[list[object]] = []
NO_FILTER_CONFIGS: Final = FilterConfigs({}, {})
