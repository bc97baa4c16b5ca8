"""/listeners."""

from __future__ import annotations

from outrider.config.dump import to_json_text
from outrider.data.address import KIND_PIPE, Address
from outrider.server.admin.request import JSON, AdminRequest, AdminResponse
from outrider.server.admin.state import AdminState


def address_tree(address: Address) -> dict[str, object]:
    """An `envoy.config.core.v3.Address` in JSON."""
    if address.kind == KIND_PIPE:
        return {"pipe": {"path": address.host}}
    tree: dict[str, object] = {"address": address.host, "port_value": address.port}
    if address.protocol == "UDP":
        tree = {"protocol": "UDP", **tree}
    return {"socket_address": tree}


class ListenerHandlers:
    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def listeners(self, request: AdminRequest) -> AdminResponse:
        entries = self.state.listener_addresses()
        if request.get("format") != "json":
            return AdminResponse("".join(f"{name}::{each.text}\n" for name, bound in entries for each in bound))
        statuses = []
        for name, bound in entries:
            status: dict[str, object] = {"name": name, "local_address": address_tree(bound[0])}
            if len(bound) > 1:
                status["additional_local_addresses"] = [address_tree(each) for each in bound[1:]]
            statuses.append(status)
        tree = {"listener_statuses": statuses} if statuses else {}
        return AdminResponse(to_json_text(tree) + "\n", content_type=JSON)
