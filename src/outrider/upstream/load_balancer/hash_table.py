"""What a consistent-hashing policy builds over the hosts of one priority."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.upstream.host import Host


@mypyc_attr(allow_interpreted_subclasses=True)
class HashTable:
    """A ring or table."""

    def choose(self, key: int, attempt: int) -> Host | None:
        """The host for a 64-bit key; further attempts give others."""
        raise NotImplementedError
