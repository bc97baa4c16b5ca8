"""`TlsKeyLog`: session secrets in the format of NSS's key log, for those connections that the address ranges name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from outrider.matching.cidr import CidrList, parse_cidr_list

if TYPE_CHECKING:
    from outrider.config.view import View


class KeyLog:
    """Appends lines; opened when configuration loads. Writes go straight to the file: this is for debugging."""

    __slots__ = ("path", "local", "remote", "_descriptor")

    def __init__(self, view: View) -> None:
        """Raises ConfigError where the file cannot be opened."""
        self.path: str = view.text("path")
        local = view.messages("local_address_range")
        remote = view.messages("remote_address_range")
        self.local: CidrList | None = parse_cidr_list(local) if local else None
        self.remote: CidrList | None = parse_cidr_list(remote) if remote else None
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise view.error(f"unable to open file '{self.path}': {error.strerror}", "path") from None

    def write(self, line: bytes, connection: object) -> None:
        """One secret of a connection (its `info` tells the addresses)."""
        info = getattr(connection, "info", None)
        if info is not None:
            if self.local is not None and not self.local.contains(info.local_address):
                return
            if self.remote is not None and not self.remote.contains(info.remote_address):
                return
        os.write(self._descriptor, line + b"\n")
