"""Event logs of health checks and outlier detection: one JSON object per line, fields as Envoy's messages have them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from outrider.access_log.file_writer import AccessLogManager
    from outrider.data.address import Address


def timestamp(now_ns: int) -> str:
    """As protobuf's JSON has it: milliseconds."""
    moment = datetime.fromtimestamp(now_ns // 1_000_000 / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def address_json(address: Address) -> dict[str, object]:
    """`envoy.config.core.v3.Address` with all its defaults."""
    if address.port or address.kind == 0:
        return {
            "socket_address": {
                "protocol": address.protocol, "address": address.host, "port_value": address.port,
                "resolver_name": "", "ipv4_compat": False, "network_namespace_filepath": "",
            }
        }
    return {"pipe": {"path": address.host, "mode": 0}}


class EventLog:
    """Writes events to files, without ever waiting for the disk."""

    __slots__ = ("manager", "paths")

    def __init__(self, manager: AccessLogManager, paths: list[str]) -> None:
        self.manager = manager
        self.paths = paths

    def write(self, event: dict[str, object]) -> None:
        line = orjson.dumps(event) + b"\n"
        for path in self.paths:
            self.manager.file(path).write(line)
