"""What the stateful_session filter needs of a kind of session."""

from __future__ import annotations

from typing import Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.registry import ExtensionRegistry


class SessionState:
    """Reads and writes the address of the session's host; one for all requests."""

    def applies(self, headers: RequestHeaderMap) -> bool:
        """Whether requests like this one have sessions."""
        return True

    def address(self, headers: RequestHeaderMap) -> str:
        """The host's address (`1.2.3.4:80`); empty where the request has no session yet."""
        raise NotImplementedError

    def update(self, address: str, headers: ResponseHeaderMap) -> None:
        """Tell the client the host that it is on now."""
        raise NotImplementedError


# Factories take `(config, context)`: `(View, FactoryContext)`.
SESSION_STATES: Final[ExtensionRegistry[SessionState]] = ExtensionRegistry("envoy.http.stateful_session")
