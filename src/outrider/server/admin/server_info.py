"""/server_info, /ready, /memory, /certs, /contention, /hot_restart_version, /help."""

from __future__ import annotations

from typing import Any

from outrider.config.dump import to_json_text, to_json_tree
from outrider.server.admin.request import JSON, AdminRequest, AdminResponse
from outrider.server.admin.state import AdminState
from outrider.server.version import HOT_RESTART_VERSION, version_text
from outrider.xds.node import full_node


def node_message(state: AdminState) -> Any:
    """The node with its extensions, as a message."""
    return full_node(state.settings.node)


def _target_kind(target: str) -> str:
    """As Envoy tells targets that several managers may wait for from those of one."""
    return "target" if target.startswith(("ConfigSubscriptionCommonBase", "LDS", "RTDS", "VHDS")) else "shared target"


class InfoHandlers:
    def __init__(self, state: AdminState) -> None:
        self.state = state

    async def server_info(self, request: AdminRequest) -> AdminResponse:
        state = self.state
        uptime = f"{state.uptime_s()}s"
        tree = {
            "version": version_text(),
            "state": state.state_name(),
            "uptime_current_epoch": uptime,
            "uptime_all_epochs": uptime,
            "hot_restart_version": HOT_RESTART_VERSION,
            "command_line_options": state.options.describe(),
            "node": to_json_tree(node_message(state), defaults=True),
            "hot_restart_initializing": False,
        }
        return AdminResponse(to_json_text(tree) + "\n", content_type=JSON)

    async def ready(self, request: AdminRequest) -> AdminResponse:
        name = self.state.state_name()
        return AdminResponse(f"{name}\n", 200 if name == "LIVE" else 503)

    async def memory(self, request: AdminRequest) -> AdminResponse:
        processes = await self.state.memory()
        resident = sum(each[0] for each in processes)
        allocated = sum(each[1] for each in processes)
        tree = {
            "allocated": str(allocated),
            "heap_size": str(resident),
            "pageheap_unmapped": "0",
            "pageheap_free": str(max(resident - allocated, 0)),
            "total_thread_cache": "0",
            "total_physical_bytes": str(resident),
        }
        return AdminResponse(to_json_text(tree) + "\n", content_type=JSON)

    async def allocator(self, request: AdminRequest) -> AdminResponse:
        """Where Envoy shows its allocator: ours is Python's, of the main process."""
        import sys

        processes = await self.state.memory()
        lines = ["Python's allocator; bytes by process, main first"]
        lines += [f"process {index}: resident {each[0]} allocated {each[1]}" for index, each in enumerate(processes)]
        lines.append(f"blocks in use in main: {sys.getallocatedblocks()}")
        return AdminResponse("\n".join(lines) + "\n", content_type="text/plain")

    async def certs(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse(to_json_text({"certificates": self.state.certificates()}) + "\n", content_type=JSON)

    async def contention(self, request: AdminRequest) -> AdminResponse:
        if not self.state.options.enable_mutex_tracing:
            return AdminResponse(
                "Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.", 200
            )
        # Every process has one thread that serves and no lock to wait for.
        tree = {"num_contentions": "0", "current_wait_cycles": "0", "lifetime_wait_cycles": "0"}
        return AdminResponse(to_json_text(tree) + "\n", content_type=JSON)

    async def hot_restart_version(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse(f"{HOT_RESTART_VERSION}\n")

    async def init_dump(self, request: AdminRequest) -> AdminResponse:
        mask = request.get("mask")
        dumps = []
        for name, targets in self.state.unready_targets():
            if mask is None or mask == "listener":
                shown = [f"{_target_kind(target)} {target}" for target in targets]
                dumps.append({"name": f"init manager {name}", "target_names": shown})
        return AdminResponse(
            to_json_text({"unready_targets_dumps": dumps} if dumps else {}) + "\n", content_type=JSON
        )
