"""The numbers of load reports: per-host stats of all workers, by cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from outrider.config import api
from outrider.config.parse import Reader
from outrider.server import messages
from outrider.server.admin.clusters import STAT_NAMES, add_up
from outrider.server.admin.listeners import address_tree
from outrider.server.clusters import host_stats
from outrider.xds.load_reports import ClusterLoad, HostLoad, LoadSource

if TYPE_CHECKING:
    from outrider.data.address import Address
    from outrider.server.main_process import MainProcess

_SUCCESS = STAT_NAMES.index("rq_success")
_ERROR = STAT_NAMES.index("rq_error")
_ACTIVE = STAT_NAMES.index("rq_active")
_TOTAL = STAT_NAMES.index("rq_total")
_NOTHING = (0,) * len(STAT_NAMES)


class MainLoads(LoadSource):
    """Asks the workers, as `/clusters` does."""

    def __init__(self, main: MainProcess) -> None:
        self.main = main

    def collect(self, done: Callable[[dict[str, ClusterLoad]], None]) -> None:
        # Counters of clusters come with the stats, those of hosts by themselves.
        self.main.collect_stats(_Collected(self, done))

    def loads(self, answers: list[Any]) -> dict[str, ClusterLoad]:
        """What the workers said, with what main knows of the hosts."""
        numbers = add_up([host_stats(self.main.proxy.cluster_manager), *answers])
        found: dict[str, ClusterLoad] = {}
        for name, entry in self.main.clusters.control.active.items():
            known = numbers.get(name, {})
            hosts = []
            for key, host in entry.control.hosts.items():
                each = known.get(key, _NOTHING)
                hosts.append(
                    HostLoad(
                        key, _address(host.address), host.locality, host.priority,
                        each[_SUCCESS], each[_ERROR], each[_ACTIVE], each[_TOTAL],
                    )
                )  # fmt: skip
            stats = entry.info.stats
            dropped = stats.upstream_rq_pending_overflow.value + stats.upstream_rq_maintenance_mode.value
            found[name] = ClusterLoad(name, entry.info.config.eds_service_name, hosts, dropped)
        return found


class _Collected:
    """The stats are there: ask for those of the hosts."""

    __slots__ = ("answers", "done", "loads")

    def __init__(self, loads: MainLoads, done: Callable[[dict[str, ClusterLoad]], None]) -> None:
        self.loads = loads
        self.done = done
        self.answers: dict[int, Any] = {}

    def __call__(self) -> None:
        self.loads.main.supervisor.ask(messages.CLUSTERS, self.answers.__setitem__, self._finish)

    def _finish(self) -> None:
        self.done(self.loads.loads([self.answers[index] for index in sorted(self.answers)]))


def _address(address: Address) -> Any:
    message = api.new("envoy.config.core.v3.Address")
    Reader().read(address_tree(address), message)
    return message
