"""/runtime, /runtime_modify."""

from __future__ import annotations

from outrider.config.dump import to_json_text
from outrider.config.runtime_layers import NoAdminLayer
from outrider.server.admin.request import JSON, AdminRequest, AdminResponse, ok
from outrider.server.admin.state import AdminState

USAGE = (
    "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"
    "       or send the parameters as form values\n"
    "use an empty value to remove a previously added override"
)


class RuntimeHandlers:
    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def runtime(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse(to_json_text(self.state.runtime.describe()) + "\n", content_type=JSON)

    async def modify(self, request: AdminRequest) -> AdminResponse:
        if not request.params:
            return AdminResponse(USAGE, 400)
        try:
            self.state.runtime.modify(request.params)
        except NoAdminLayer as error:
            return AdminResponse(str(error), 503)
        return ok()
