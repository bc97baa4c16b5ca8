"""What a handler of the admin interface gets, and what it gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote

TEXT: Final = "text/plain; charset=UTF-8"
PLAIN: Final = "text/plain"
JSON: Final = "application/json"
HTML: Final = "text/html; charset=UTF-8"


class AdminRequest:
    """One request: its path without the query, and the first value of each parameter."""

    __slots__ = ("method", "path", "params", "body", "accept")

    def __init__(self, method: str, target: str, body: bytes = b"", content_type: str = "", accept: str = "") -> None:
        self.method = method
        path, _, query = target.partition("?")
        self.path = unquote(path)
        self.body = body
        self.accept = accept
        self.params: dict[str, str] = {}
        for key, value in parse_qsl(query.partition("#")[0], keep_blank_values=True):
            self.params.setdefault(key, value)
        if method == "POST" and content_type.startswith("application/x-www-form-urlencoded"):
            for key, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True):
                self.params.setdefault(key, value)

    def flag(self, name: str) -> bool:
        """Whether a parameter is there at all."""
        return name in self.params

    def get(self, name: str) -> str | None:
        """A parameter's value, None where it is not there or empty."""
        return self.params.get(name) or None


class AdminResponse:
    """A status, a body (text, bytes, or pieces of text made while they are sent) and its type."""

    __slots__ = ("status", "content_type", "body", "headers")

    def __init__(
        self,
        body: str | bytes | Iterable[str] = "",
        status: int = 200,
        content_type: str = TEXT,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        self.body = body
        self.status = status
        self.content_type = content_type
        self.headers = headers if headers is not None else []

    def text(self) -> str:
        """The whole body (for tests and small bodies)."""
        if isinstance(self.body, bytes):
            return self.body.decode("utf-8", "replace")
        return self.body if isinstance(self.body, str) else "".join(self.body)


def ok() -> AdminResponse:
    return AdminResponse("OK\n")
