"""One cluster in main, from the moment it is built to its removal (Envoy's `ClusterManagerImpl::ClusterData`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from outrider.config.view import View
from outrider.upstream.cluster_info import ClusterInfo
from outrider.upstream.config.cluster_config import EDS

if TYPE_CHECKING:
    from outrider.upstream.control.cluster_control import ClusterControl

_FILE_SOURCES: Final = ("path", "path_config_source")


class ClusterEntry:
    """A cluster that serves, or warms."""

    __slots__ = (
        "added_via_api", "control", "info", "last_updated_s", "on_close", "packed", "primary", "version_info",
    )  # fmt: skip

    def __init__(
        self,
        info: ClusterInfo,
        control: ClusterControl,
        packed: bytes,
        version_info: str,
        added_via_api: bool,
        last_updated_s: float,
        on_close: list[Callable[[], None]],
    ) -> None:
        self.info = info
        self.control = control
        # The `Cluster` message: what workers build, and what an update is compared with.
        self.packed = packed
        self.version_info = version_info
        self.added_via_api = added_via_api
        self.last_updated_s = last_updated_s
        self.on_close = on_close
        # Primary clusters come first at the start: those whose hosts need no management server.
        self.primary: bool = is_primary(info)

    def blocks(self, packed: bytes) -> bool:
        """Whether an update changes nothing, or may not: static clusters stay as they are."""
        return not self.added_via_api or packed == self.packed

    def close(self) -> None:
        """Removed or replaced: nothing of it goes on in main."""
        self.control.stop()
        callbacks = self.on_close
        self.on_close = []
        for callback in callbacks:
            callback()
        self.info.scope.close()

    def __repr__(self) -> str:
        return f"<ClusterEntry {self.info.name} {'dynamic' if self.added_via_api else 'static'}>"


def is_primary(info: ClusterInfo) -> bool:
    """Not EDS, or EDS from a file."""
    config = info.config
    if config.discovery != EDS:
        return True
    source: View | None = config.eds_source
    return source is not None and source.which("config_source_specifier") in _FILE_SOURCES
