"""What an authorization service says, whatever it speaks."""

from __future__ import annotations

from typing import Final

OK: Final = 0
DENIED: Final = 1
ERROR: Final = 2

Fields = list[tuple[bytes, bytes]]


class AuthzAnswer:
    """One answer. Names of fields are lower-case."""

    __slots__ = (
        "verdict", "status", "body", "to_set", "to_append", "joins", "to_remove", "query_set", "query_remove",
        "client_add", "client_set", "client_add_if_absent", "client_overwrite", "metadata", "grpc_status",
    )  # fmt: skip

    def __init__(self, verdict: int, status: int = 0, body: str = "") -> None:
        self.verdict = verdict
        # Of a refusal. 0: the default of the filter.
        self.status = status
        self.body = body
        # For the request: replaced or added; appended where the field exists.
        self.to_set: Fields = []
        self.to_append: Fields = []
        # Appended with a comma, not as a further field: Envoy does so for gRPC services.
        self.joins: bool = False
        self.to_remove: list[bytes] = []
        self.query_set: Fields = []
        self.query_remove: list[bytes] = []
        # For the client: `client_set` also with a refusal.
        self.client_add: Fields = []
        self.client_set: Fields = []
        self.client_add_if_absent: Fields = []
        self.client_overwrite: Fields = []
        self.metadata: dict[str, object] = {}
        # Status of the gRPC call, -1 where there was none.
        self.grpc_status: int = -1

    def __repr__(self) -> str:
        return f"<AuthzAnswer {('ok', 'denied', 'error')[self.verdict]} {self.status}>"
