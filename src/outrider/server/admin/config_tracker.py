"""What parts of the server show in /config_dump beside what the managers know: routes, secrets, extensions.

Who has something to show says so through `context.config_tracker` (None in workers and in tests):

    forget = context.config_tracker.add("routes", show)
    context.on_close.append(forget)

    def show(dump: Any, matches: Callable[[str], bool]) -> None:
        if matches(name):
            entry = dump.dynamic_route_configs.add()
            ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

ROUTES: Final = "routes"
SCOPED_ROUTES: Final = "scoped_routes"
SECRETS: Final = "secrets"
# A dump for each kind of place, in this order.
ECDS_FILTERS: Final = ("ecds_http_filter", "ecds_network_filter", "ecds_tcp_listener_filter")

# Kind -> the message of `envoy.admin.v3` that it fills.
MESSAGES: Final = {
    **dict.fromkeys(ECDS_FILTERS, "envoy.admin.v3.EcdsConfigDump"),
    ROUTES: "envoy.admin.v3.RoutesConfigDump",
    SCOPED_ROUTES: "envoy.admin.v3.ScopedRoutesConfigDump",
    SECRETS: "envoy.admin.v3.SecretsConfigDump",
}

Show = Callable[[Any, Callable[[str], bool]], None]
"""Adds entries to the dump message of its kind: those whose names the second argument accepts."""


class ConfigTracker:
    """Callbacks by kind, in the order in which they were added."""

    def __init__(self) -> None:
        self._shows: dict[str, list[Show]] = {kind: [] for kind in MESSAGES}

    def add(self, kind: str, show: Show) -> Callable[[], None]:
        """`kind` is one of this module's (KeyError otherwise). Gives what is to be called when it is gone."""
        shows = self._shows[kind]
        shows.append(show)

        def forget() -> None:
            if show in shows:
                shows.remove(show)

        return forget

    def has(self, kind: str) -> bool:
        return bool(self._shows[kind])

    def fill(self, kind: str, dump: Any, matches: Callable[[str], bool]) -> None:
        """Let everyone of a kind add to a dump."""
        for show in list(self._shows[kind]):
            show(dump, matches)
