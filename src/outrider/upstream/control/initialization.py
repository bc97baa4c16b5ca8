"""The order in which clusters come up at the start: primary ones, then the others, then what CDS brings.

Source: Envoy documentation, "Initialization"; `ClusterManagerInitHelper`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from outrider.upstream.control.cluster_entry import ClusterEntry

_log: Final = logging.getLogger("outrider.upstream")

LOADING: Final = 0
"""Static clusters are being built."""
PRIMARY: Final = 1
"""Primary clusters initialize."""
PRIMARY_DONE: Final = 2
"""The server may start what needs them (runtime discovery, ADS), and then calls `start_secondary`."""
SECONDARY: Final = 3
CDS: Final = 4
"""CDS has been started; its first word is awaited."""
CDS_CLUSTERS: Final = 5
"""The clusters of the first word initialize."""
DONE: Final = 6


class ClusterInit:
    """Tells when which clusters are to begin, and when all are ready."""

    def __init__(self, on_ready: Callable[[ClusterEntry], None]) -> None:
        """`on_ready` is called with each cluster that has initialized."""
        self.state = LOADING
        self.on_ready = on_ready
        self.waiting: dict[ClusterEntry, None] = {}
        # Starts CDS; None without one.
        self.start_cds: Callable[[], None] | None = None
        self.on_primary_done: Callable[[], None] | None = None
        self.on_all_done: Callable[[], None] | None = None
        self._begun: set[ClusterEntry] = set()

    def add(self, entry: ClusterEntry) -> None:
        """A further cluster, before all have initialized."""
        self.waiting[entry] = None
        if self._may_begin(entry):
            self._begin(entry)

    def remove(self, entry: ClusterEntry) -> None:
        """It was replaced or removed before it was ready."""
        if entry in self.waiting:
            del self.waiting[entry]
            self._begun.discard(entry)
            self._check()

    def static_load_complete(self) -> None:
        """All static clusters are there: let the primary ones begin."""
        self.state = PRIMARY
        for entry in list(self.waiting):
            if entry.primary:
                self._begin(entry)
        self._check()

    def start_secondary(self) -> None:
        """The server is ready for clusters that need a management server."""
        self.state = SECONDARY
        for entry in list(self.waiting):
            self._begin(entry)
        self._check()

    def on_cds_initialized(self) -> None:
        """CDS has spoken for the first time, or has failed to."""
        if self.state != CDS:
            return
        self.state = CDS_CLUSTERS
        for entry in list(self.waiting):
            self._begin(entry)
        self._check()

    def _may_begin(self, entry: ClusterEntry) -> bool:
        if self.state in (LOADING, PRIMARY_DONE):
            return False
        # While the first word of CDS is taken in, EDS is not asked for one cluster at a time: all begin together.
        return entry.primary or self.state in (SECONDARY, CDS_CLUSTERS)

    def _begin(self, entry: ClusterEntry) -> None:
        if entry in self._begun or entry not in self.waiting:
            return
        self._begun.add(entry)
        entry.control.start(_Arrival(self, entry).arrived)

    def arrived(self, entry: ClusterEntry) -> None:
        if entry not in self.waiting:
            return
        self.on_ready(entry)
        self.waiting.pop(entry, None)
        self._begun.discard(entry)
        self._check()

    def _check(self) -> None:
        if self.state == PRIMARY:
            if not any(entry.primary for entry in self.waiting):
                self.state = PRIMARY_DONE
                _log.debug("cm init: primary clusters are initialized")
                if self.on_primary_done is not None:
                    self.on_primary_done()
            return
        if self.waiting or self.state not in (SECONDARY, CDS_CLUSTERS):
            return
        if self.state == SECONDARY and self.start_cds is not None:
            self.state = CDS
            _log.info("cm init: initializing cds")
            self.start_cds()
            return
        self.state = DONE
        _log.info("cm init: all clusters initialized")
        if self.on_all_done is not None:
            self.on_all_done()


class _Arrival:
    """Tells which cluster is ready."""

    __slots__ = ("entry", "init")

    def __init__(self, init: ClusterInit, entry: ClusterEntry) -> None:
        self.init = init
        self.entry = entry

    def arrived(self) -> None:
        self.init.arrived(self.entry)
