"""Request mirroring settings (`RequestMirrorPolicy`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.data.header_map import RequestHeaderMap
    from outrider.http.header_mutation import HeaderParser
    from outrider.matching.runtime_fraction import RuntimeFraction


class ShadowPolicy:
    """One mirror. The router sends a copy of the request and forgets it."""

    __slots__ = (
        "cluster",
        "cluster_header",
        "fraction",
        "trace_sampled",
        "append_host_suffix",
        "host_rewrite",
        "request_edits",
    )

    def __init__(self, cluster: str, cluster_header: bytes) -> None:
        # One of the two is set.
        self.cluster = cluster
        self.cluster_header = cluster_header
        # None: every request.
        self.fraction: RuntimeFraction | None = None
        # None: as the original is sampled.
        self.trace_sampled: bool | None = None
        # Whether "-shadow" is appended to the host.
        self.append_host_suffix: bool = True
        # Replaces the host of the copy; empty when not set.
        self.host_rewrite: bytes = b""
        # Header mutations of the copy, to be evaluated one after the other.
        self.request_edits: list[HeaderParser] = []

    def cluster_name(self, headers: RequestHeaderMap) -> str:
        """The mirror's cluster for this request; "" when cluster_header is absent."""
        if self.cluster:
            return self.cluster
        value = headers.get(self.cluster_header)
        return "" if value is None else value.decode("latin-1")

    def applies(self, random_value: int) -> bool:
        """Whether this request is among those to mirror."""
        return self.fraction is None or self.fraction.enabled(random_value)
