"""What the admin handlers see of the server. `MainState` is the real one; tests give a fake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outrider.server.admin.dynamic_dump import DynamicClusters, DynamicListeners

if TYPE_CHECKING:
    from outrider.config.runtime_layers import RuntimeLoader
    from outrider.data.address import Address
    from outrider.server.admin.config_tracker import ConfigTracker
    from outrider.server.bootstrap import BootstrapSettings
    from outrider.server.options import Options
    from outrider.stats.store import Store
    from outrider.stats.tags import TagProducer


class AdminState:
    """The server as far as the admin interface is concerned."""

    store: Store
    tag_producer: TagProducer
    runtime: RuntimeLoader
    options: Options
    settings: BootstrapSettings

    async def collect_stats(self) -> None:
        """Bring `store` up to date with all processes."""
        raise NotImplementedError

    async def memory(self) -> list[tuple[int, int]]:
        """(resident, allocated) bytes of every process, main first."""
        raise NotImplementedError

    async def host_stats(self) -> list[Any]:
        """Per-host numbers of every worker."""
        raise NotImplementedError

    def state_name(self) -> str:
        """LIVE, DRAINING, PRE_INITIALIZING or INITIALIZING."""
        raise NotImplementedError

    def uptime_s(self) -> int:
        raise NotImplementedError

    def started_at_s(self) -> float:
        """Unix time."""
        raise NotImplementedError

    def listener_addresses(self) -> list[tuple[str, list[Address]]]:
        """Name and bound addresses of every listener."""
        raise NotImplementedError

    def fail_health_check(self, failed: bool) -> None:
        raise NotImplementedError

    def drain_listeners(self, graceful: bool, inbound_only: bool, skip_exit: bool) -> None:
        raise NotImplementedError

    def reopen_logs(self) -> None:
        raise NotImplementedError

    def quit(self) -> None:
        raise NotImplementedError

    def log_levels(self) -> dict[str, str]:
        raise NotImplementedError

    def set_log_levels(self, levels: dict[str, str]) -> None:
        raise NotImplementedError

    def cluster_dumps(self) -> list[Any]:
        """What `/clusters` shows, one `upstream` cluster description each."""
        raise NotImplementedError

    def certificates(self) -> list[dict[str, Any]]:
        """What `/certs` shows: trees of `envoy.admin.v3.Certificate`."""
        raise NotImplementedError

    def dynamic_clusters(self) -> DynamicClusters:
        """Those that CDS gave."""
        return DynamicClusters()

    def dynamic_listeners(self) -> DynamicListeners:
        """Those that LDS gave."""
        return DynamicListeners()

    @property
    def config_tracker(self) -> ConfigTracker | None:
        """What other parts of the server show in /config_dump."""
        return None

    def unready_targets(self) -> list[tuple[str, list[str]]]:
        """Init managers and the targets they wait for."""
        raise NotImplementedError
