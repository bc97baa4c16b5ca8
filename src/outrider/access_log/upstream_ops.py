"""Operators that print the upstream side: host, cluster, attempts, reasons.

Hosts and clusters are known here by their attributes only (`address`, `hostname`, `name`, `observability_name`): their
classes live in a higher rank.
"""

from __future__ import annotations

from typing import Final

from outrider.access_log.context import FormatContext
from outrider.access_log.operation import FormatOp, StringOp
from outrider.access_log.stream_ops import without_spaces
from outrider.data.address import KIND_IP, Address
from outrider.data.response_flag import NO_CLUSTER_FOUND
from outrider.data.stream_info import PROTOCOL_TEXT

_FAILURE: Final = 0
_DETECTED_CLOSE: Final = 1
_LOCAL_CLOSE: Final = 2


class UpstreamHostOp(FormatOp):
    """%UPSTREAM_HOST%: the address of the chosen host."""

    def text(self, context: FormatContext) -> bytes | None:
        upstream = context.stream_info.upstream
        if upstream is None:
            return None
        address = upstream.host_address
        return None if address is None else address.text.encode()


class UpstreamHostNameOp(StringOp):
    """%UPSTREAM_HOST_NAME%: the name that was resolved, or the address of a host without one."""

    def __init__(self, with_port: bool) -> None:
        self.with_port = with_port

    def string(self, context: FormatContext) -> str:
        upstream = context.stream_info.upstream
        if upstream is None:
            return ""
        return host_name(upstream.host_name, upstream.host_address, self.with_port)


class AttemptedHostsOp(StringOp):
    """Hosts of all attempts that got a connection: addresses or names, with or without port."""

    def __init__(self, names: bool, with_port: bool) -> None:
        self.names = names
        self.with_port = with_port

    def string(self, context: FormatContext) -> str:
        upstream = context.stream_info.upstream
        if upstream is None:
            return ""
        hosts = upstream.attempted_hosts
        if hosts is None:
            # A single attempt needs no list.
            return host_name(
                upstream.host_name if self.names and upstream.connection_id else "",
                upstream.host_address if upstream.connection_id else None,
                self.with_port,
            )
        texts: list[str] = []
        for host in hosts:
            address = getattr(host, "address", None)
            if not isinstance(address, Address):
                continue
            name = str(getattr(host, "hostname", "")) if self.names else ""
            texts.append(host_name(name, address, self.with_port))
        return ",".join(texts)


class AttemptedConnectionsOp(StringOp):
    """%UPSTREAM_CONNECTION_IDS_ATTEMPTED%."""

    def string(self, context: FormatContext) -> str:
        upstream = context.stream_info.upstream
        if upstream is None:
            return ""
        ids = upstream.attempted_connection_ids
        if ids is None:
            return str(upstream.connection_id) if upstream.connection_id else ""
        return ",".join([str(number) for number in ids])


class UpstreamClusterOp(StringOp):
    """%UPSTREAM_CLUSTER%: `alt_stat_name` where the cluster has one. %UPSTREAM_CLUSTER_RAW%: its name."""

    def __init__(self, raw: bool) -> None:
        self.raw = raw

    def string(self, context: FormatContext) -> str:
        info = context.stream_info
        cluster = info.cluster
        if cluster is not None and not self.raw:
            name = getattr(cluster, "observability_name", None)
            if isinstance(name, str) and name:
                return name
        if info.cluster_name:
            return info.cluster_name
        upstream = info.upstream
        if upstream is not None:
            return upstream.cluster_name
        # Answered by a filter before the router: Envoy has the cluster from the moment the route is known.
        name = getattr(info.route, "cluster_name", None)
        return name if isinstance(name, str) and not info.response_flags & NO_CLUSTER_FOUND else ""


class UpstreamReasonOp(StringOp):
    """Why the upstream connection failed or ended."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def string(self, context: FormatContext) -> str:
        upstream = context.stream_info.upstream
        if upstream is None:
            return ""
        if self.kind == _FAILURE:
            return without_spaces(upstream.transport_failure_reason)
        if self.kind == _LOCAL_CLOSE:
            return upstream.local_close_reason
        return upstream.detected_close_type or ("" if upstream.host_address is None else "Normal")


class UpstreamProtocolOp(StringOp):
    """%UPSTREAM_PROTOCOL%."""

    def string(self, context: FormatContext) -> str:
        upstream = context.stream_info.upstream
        return "" if upstream is None or upstream.protocol < 0 else PROTOCOL_TEXT[upstream.protocol]


def host_name(name: str, address: Address | None, with_port: bool) -> str:
    """The name of a host, its address where it has none; "" for no host."""
    if name:
        if with_port:
            return name
        return name.rpartition(":")[0] if ":" in name and not name.endswith("]") else name
    if address is None:
        return ""
    return address.text if with_port or address.kind != KIND_IP else address.host


PLAIN: Final[dict[str, FormatOp]] = {
    "UPSTREAM_HOST": UpstreamHostOp(),
    "UPSTREAM_HOST_NAME": UpstreamHostNameOp(True),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": UpstreamHostNameOp(False),
    "UPSTREAM_HOSTS_ATTEMPTED": AttemptedHostsOp(False, True),
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": AttemptedHostsOp(False, False),
    "UPSTREAM_HOST_NAMES_ATTEMPTED": AttemptedHostsOp(True, True),
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": AttemptedHostsOp(True, False),
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": AttemptedConnectionsOp(),
    "UPSTREAM_CLUSTER": UpstreamClusterOp(False),
    "UPSTREAM_CLUSTER_RAW": UpstreamClusterOp(True),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": UpstreamReasonOp(_FAILURE),
    "UPSTREAM_DETECTED_CLOSE_TYPE": UpstreamReasonOp(_DETECTED_CLOSE),
    "UPSTREAM_LOCAL_CLOSE_REASON": UpstreamReasonOp(_LOCAL_CLOSE),
    "UPSTREAM_PROTOCOL": UpstreamProtocolOp(),
}
