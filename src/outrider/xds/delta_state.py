"""What the server has been told, and has told, of one type in the incremental form. No I/O.

Source: Envoy's `DeltaSubscriptionState`; "xDS REST and gRPC protocol", "Incremental xDS".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from outrider.config import api
from outrider.xds import api_types

WILDCARD: Final = "*"
_WAITING: Final = None
"""In place of a version: the server has not sent the resource yet."""


class DeltaState:
    """Interest, versions, and the next request."""

    __slots__ = (
        "added",
        "ambiguous",
        "any_request_sent",
        "legacy_wildcard",
        "must_send",
        "removed",
        "requested",
        "type_url",
        "wildcard",
    )

    def __init__(self, type_name: str) -> None:
        self.type_url = api_types.type_url(type_name)
        # Versions of what was asked for by name.
        self.requested: dict[str, str | None] = {}
        # Versions of what came because all was asked for.
        self.wildcard: dict[str, str] = {}
        # Versions of what was given up by name while all is asked for: the server will say which it is.
        self.ambiguous: dict[str, str] = {}
        # Nothing was ever asked for by name: an empty first request means "all".
        self.legacy_wildcard = True
        self.any_request_sent = False
        self.must_send = False
        # Changes of interest that the server has not been told of.
        self.added: set[str] = set()
        self.removed: set[str] = set()

    def change_interest(self, added: Iterable[str], removed: Iterable[str]) -> None:
        """Names that somebody wants from now on, and names that nobody wants any more."""
        for name in added:
            if name != WILDCARD:
                self.legacy_wildcard = False
            version: str | None = _WAITING
            if name in self.wildcard:
                version = self.wildcard.pop(name)
            elif name in self.ambiguous:
                version = self.ambiguous.pop(name)
            self.requested[name] = version
            # Given up and wanted again before a request went out: that is new interest, the old copy may be lost.
            self.removed.discard(name)
            self.added.add(name)
        for name in removed:
            erased = name in self.requested
            if erased:
                version = self.requested.pop(name)
                if version is not _WAITING and WILDCARD in self.requested:
                    self.ambiguous[name] = version
            self.added.discard(name)
            # Perhaps never subscribed to; harmless, and needed when it was wanted, given up, wanted, given up.
            self.removed.add(name)
            if erased:
                self.legacy_wildcard = False
            if name == WILDCARD:
                self.wildcard.clear()
                self.ambiguous.clear()

    def request_pending(self) -> bool:
        """Whether there is something to say apart from ACKs."""
        if self.added or self.removed:
            return True
        if not self.any_request_sent:
            return bool(self.requested) or self.legacy_wildcard
        return self.must_send

    def new_stream(self) -> None:
        """The server knows nothing any more."""
        self.any_request_sent = False

    def request(self) -> Any:
        """The next DeltaDiscoveryRequest, without node and nonce."""
        self.must_send = False
        request: Any = api.new("envoy.service.discovery.v3.DeltaDiscoveryRequest")
        request.type_url = self.type_url
        if not self.any_request_sent:
            self.any_request_sent = True
            legacy = self._is_legacy_wildcard()
            versions = request.initial_resource_versions
            for name, version in self.requested.items():
                if version is not _WAITING:
                    versions[name] = version
                self.added.add(name)
            for name, known in self.wildcard.items():
                versions[name] = known
            for name, known in self.ambiguous.items():
                versions[name] = known
            if legacy:
                self.added.clear()
            self.removed.clear()
        request.resource_names_subscribe.extend(sorted(self.added))
        request.resource_names_unsubscribe.extend(sorted(self.removed))
        self.added.clear()
        self.removed.clear()
        return request

    def _is_legacy_wildcard(self) -> bool:
        if self.legacy_wildcard:
            self.requested.setdefault(WILDCARD, _WAITING)
            return True
        # All that was asked for by name was given up since; what is left is the wildcard.
        if set(self.requested) == {WILDCARD} and not self.added and not self.removed:
            self.legacy_wildcard = True
            return True
        return False

    def took(self, name: str, version: str) -> None:
        """A resource came and was accepted."""
        if name in self.requested:
            self.requested[name] = version
        elif WILDCARD in self.requested:
            self.ambiguous.pop(name, None)
            self.wildcard[name] = version

    def lost(self, name: str) -> None:
        """The server says that there is no such resource (any more), or its time has run out."""
        if name in self.requested:
            # Still wanted: to be unsubscribed from one day, but without a version worth telling.
            self.requested[name] = _WAITING
        elif name in self.wildcard:
            del self.wildcard[name]
        else:
            self.ambiguous.pop(name, None)

    def version(self, name: str) -> str | None:
        """The version that is in force, None where there is none."""
        for versions in (self.requested, self.wildcard, self.ambiguous):
            if name in versions:
                return versions[name]
        return None

    def names(self) -> set[str]:
        """All resources that there are."""
        present = {name for name, version in self.requested.items() if version is not _WAITING}
        return present | set(self.wildcard) | set(self.ambiguous)
