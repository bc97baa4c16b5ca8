"""The endpoints of the admin interface: what they are called, what they take, who serves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

from outrider.server.admin.request import AdminRequest, AdminResponse

Handler = Callable[[AdminRequest], Awaitable[AdminResponse]]


class ParameterKind(Enum):
    """How a parameter is entered on the home page."""

    TEXT = "text"
    FLAG = "flag"
    CHOICE = "choice"


class Parameter:
    """A query parameter."""

    __slots__ = ("kind", "name", "help", "choices")

    def __init__(self, kind: ParameterKind, name: str, help_text: str, choices: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.name = name
        self.help = help_text
        self.choices = choices

    def line(self) -> str:
        choices = f"; One of ({', '.join(self.choices)})" if self.kind is ParameterKind.CHOICE else ""
        return f"      {self.name}: {self.help}{choices}\n"


class Endpoint:
    """A path and its handler. `mutates`: only POST is served."""

    __slots__ = ("path", "help", "handler", "mutates", "parameters")

    def __init__(
        self,
        path: str,
        help_text: str,
        handler: Handler,
        mutates: bool = False,
        parameters: tuple[Parameter, ...] = (),
    ) -> None:
        self.path = path
        self.help = help_text
        self.handler = handler
        self.mutates = mutates
        self.parameters = parameters


class EndpointTable:
    """All endpoints, sorted by path."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self.endpoints = sorted(endpoints, key=_path_of)
        self._by_path = {endpoint.path: endpoint for endpoint in self.endpoints}

    def find(self, path: str) -> Endpoint | None:
        return self._by_path.get(path)

    def help_text(self) -> str:
        """`/help`."""
        lines = ["admin commands are:\n"]
        for endpoint in self.endpoints:
            lines.append(f"  {endpoint.path}{' (POST)' if endpoint.mutates else ''}: {endpoint.help}\n")
            lines += [parameter.line() for parameter in endpoint.parameters]
        return "".join(lines)

    async def dispatch(self, request: AdminRequest) -> AdminResponse:
        """Call the handler; 404 with the help text for an unknown path, 405 for the wrong method."""
        endpoint = self.find(request.path)
        if endpoint is None:
            return AdminResponse(f"invalid path. {self.help_text()}", 404)
        if endpoint.mutates and request.method != "POST":
            return AdminResponse(f"Method {request.method} not allowed, POST required.", 405)
        return await endpoint.handler(request)


def _path_of(endpoint: Endpoint) -> str:
    return endpoint.path
