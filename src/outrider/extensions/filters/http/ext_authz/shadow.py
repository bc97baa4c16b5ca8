"""What `shadow_mode` leaves in the filter state: the decision that was not enforced."""

from __future__ import annotations

import json

from outrider.data.filter_state import FilterStateObject
from outrider.data.stream_info import StreamInfo
from outrider.extensions.filters.http.ext_authz.answer import Fields

OK_DECISION = "OK"
DENIED_DECISION = "DENIED"
ERROR_DECISION = "ERROR"


class ShadowDecision(FilterStateObject):
    """`ext_authz.v3.ShadowDecision`."""

    __slots__ = ("result", "status", "fields")

    def __init__(self, result: str, status: int, fields: Fields) -> None:
        self.result = result
        self.status = status
        self.fields = fields

    def serialize(self) -> str | None:
        return json.dumps(self._tree("check_result", "status_code", "response_headers"), separators=(",", ":"))

    def serialize_typed(self) -> object:
        return self._tree("checkResult", "statusCode", "responseHeaders")

    def _tree(self, result: str, status: str, headers: str) -> dict[str, object]:
        tree: dict[str, object] = {result: self.result, status: self.status}
        if self.fields:
            tree[headers] = [
                {"key": name.decode("latin-1"), "value": value.decode("utf-8", "replace")}
                for name, value in self.fields
            ]
        return tree


def keep(info: StreamInfo, filter_name: str, decision: ShadowDecision) -> None:
    """Under the filter's configured name."""
    if info.filter_state is None:
        info.filter_state = {}
    info.filter_state[f"{filter_name}.shadow"] = decision
