"""envoy.http.stateful_session.header: the host's address, base64, in a header."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.extensions.http.stateful_session.session_state import SESSION_STATES, SessionState

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext


class HeaderSession(SessionState):
    def __init__(self, name: bytes) -> None:
        self.name = name

    def address(self, headers: RequestHeaderMap) -> str:
        value = headers.get(self.name)
        if not value:
            return ""
        try:
            return base64.b64decode(value, validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            return ""

    def update(self, address: str, headers: ResponseHeaderMap) -> None:
        headers.set(self.name, base64.b64encode(address.encode()))


@SESSION_STATES.register(
    "envoy.http.stateful_session.header", "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"
)
def create(config: View, context: FactoryContext) -> SessionState:
    return HeaderSession(config.text("name").lower().encode())
