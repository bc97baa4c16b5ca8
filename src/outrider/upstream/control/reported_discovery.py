"""Hosts that workers have made and report (`upstream.dynamic_cluster`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.upstream.control.control_host import ControlHost
from outrider.upstream.control.discovery import Discovery
from outrider.upstream.hosts_update import PlainAddress, address_of

if TYPE_CHECKING:
    from outrider.upstream.control.cluster_control import ClusterControl


class ReportedDiscovery(Discovery):
    """The union of the workers' hosts: one is gone when the last worker that had it has dropped it."""

    def __init__(self, control: ClusterControl) -> None:
        self.control = control
        self._uses: dict[str, int] = {}
        self._hosts: dict[str, ControlHost] = {}

    def start(self) -> None:
        self.control.set_hosts([])

    def report(self, added: list[tuple[str, PlainAddress, str]], dropped: list[str]) -> None:
        changed = False
        for key, plain, hostname in added:
            count = self._uses.get(key, 0)
            self._uses[key] = count + 1
            if count == 0:
                host = ControlHost(key, address_of(plain))
                host.hostname = hostname
                self._hosts[key] = host
                changed = True
        for key in dropped:
            count = self._uses.get(key, 0) - 1
            if count > 0:
                self._uses[key] = count
            elif count == 0:
                del self._uses[key]
                del self._hosts[key]
                changed = True
        if changed:
            self.control.set_hosts(list(self._hosts.values()))


class NoDiscovery(Discovery):
    """A cluster without hosts of its own (aggregate)."""

    def __init__(self, control: ClusterControl) -> None:
        self.control = control

    def start(self) -> None:
        self.control.set_hosts([])
