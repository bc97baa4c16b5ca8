"""Network addresses: IPv4/IPv6 with port, Unix sockets, Envoy-internal addresses."""

from __future__ import annotations

import ipaddress
from typing import Final

KIND_IP: Final = 0
KIND_PIPE: Final = 1
KIND_INTERNAL: Final = 2


class Address:
    """An immutable address. `text` is Envoy's form: `1.2.3.4:80`, `[::1]:80`, `/path/to.sock`, `envoy://name/id`."""

    __slots__ = ("kind", "host", "port", "text", "host_bytes", "_packed", "protocol")

    def __init__(self, kind: int, host: str, port: int, protocol: str = "TCP") -> None:
        self.kind = kind
        # IP literal without brackets, socket path (abstract paths start with "@"), or internal listener name.
        self.host = host
        self.port = port
        self.protocol = protocol
        if kind == KIND_IP:
            self.text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        elif kind == KIND_PIPE:
            self.text = host
        else:
            self.text = f"envoy://{host}"
        self.host_bytes = host.encode()
        self._packed: int = -1

    @property
    def is_v6(self) -> bool:
        return self.kind == KIND_IP and ":" in self.host

    def packed(self) -> int:
        """The IP address as an integer (for prefix matching), computed once; 0 when it is not an IP address."""
        if self._packed < 0:
            self._packed = int(ipaddress.ip_address(self.host.split("%")[0])) if self.kind == KIND_IP else 0
        return self._packed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.text == other.text and self.protocol == other.protocol

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Address({self.text})"


def ip_address(host: str, port: int, protocol: str = "TCP") -> Address:
    """Address of a valid IP literal; raises ValueError for anything else."""
    ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    return Address(KIND_IP, host, port, protocol)


def pipe_address(path: str) -> Address:
    return Address(KIND_PIPE, path, 0)


def from_sockname(name: object) -> Address:
    """Address from what `getsockname`/`getpeername` return."""
    if isinstance(name, tuple):
        host = str(name[0])
        if host.startswith("::ffff:") and "." in host:
            host = host[7:]
        return Address(KIND_IP, host, int(name[1]))
    if isinstance(name, bytes):
        return Address(KIND_PIPE, "@" + name[1:].decode("utf-8", "replace") if name[:1] == b"\0" else name.decode(), 0)
    return Address(KIND_PIPE, str(name), 0)
