"""Header maps: lower-case byte names, order of first occurrence, repeated fields kept apart.

A map is one dict for the first value of each name and, only when a name repeats, a second dict with all its
values; most lookups are one dict probe. Pseudo-headers (RFC 9113 section 8.3) are attributes; `get` also finds them by
name for the code that is configured with names (matchers, formatters).
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.data.header_names import STATUS_TEXT_BYTES


@mypyc_attr(allow_interpreted_subclasses=False)
class HeaderMap:
    """Fields of one message or trailer section. Names are lower-case bytes; values have no surrounding white space."""

    __slots__ = ("single", "multi", "case")

    def __init__(
        self,
        single: dict[bytes, bytes] | None = None,
        multi: dict[bytes, list[bytes]] | None = None,
        case: dict[bytes, bytes] | None = None,
    ) -> None:
        # First value of each name. For names in `multi` this is the first of the list there.
        self.single: dict[bytes, bytes] = {} if single is None else single
        # All values of the names that occur more than once; None when there is no such name.
        self.multi: dict[bytes, list[bytes]] | None = multi
        # Original spelling of names (stateful header formatter `preserve_case`), else None.
        self.case: dict[bytes, bytes] | None = case

    def get(self, name: bytes) -> bytes | None:
        """First value of `name`, or None."""
        return self.single.get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        """All values of `name` in order; a fresh list."""
        if self.multi is not None:
            values = self.multi.get(name)
            if values is not None:
                return list(values)
        value = self.get(name)
        return [] if value is None else [value]

    def get_joined(self, name: bytes) -> bytes | None:
        """All values of `name` joined by a comma (RFC 9110 section 5.3), or None."""
        if self.multi is not None:
            values = self.multi.get(name)
            if values is not None:
                return b",".join(values)
        return self.get(name)

    def contains(self, name: bytes) -> bool:
        return self.get(name) is not None

    def set(self, name: bytes, value: bytes) -> None:
        """Make `value` the only value of `name`."""
        if self.multi is not None and name in self.multi:
            del self.multi[name]
        self.single[name] = value

    def add(self, name: bytes, value: bytes) -> None:
        """Add a value beside those that exist."""
        first = self.single.get(name)
        if first is None:
            self.single[name] = value
            return
        if self.multi is None:
            self.multi = {}
        values = self.multi.get(name)
        if values is None:
            self.multi[name] = [first, value]
        else:
            values.append(value)

    def append(self, name: bytes, value: bytes, separator: bytes = b",") -> None:
        """Append to the existing value with `separator`, as Envoy does for its inline headers."""
        joined = self.get_joined(name)
        self.set(name, value if not joined else joined + separator + value)

    def remove(self, name: bytes) -> bool:
        if self.multi is not None and name in self.multi:
            del self.multi[name]
        return self.single.pop(name, None) is not None

    def items(self) -> list[tuple[bytes, bytes]]:
        """All fields, without pseudo-headers."""
        multi = self.multi
        if not multi:
            return list(self.single.items())
        fields: list[tuple[bytes, bytes]] = []
        for name, value in self.single.items():
            values = multi.get(name)
            if values is None:
                fields.append((name, value))
            else:
                for each in values:
                    fields.append((name, each))
        return fields

    def all_items(self) -> list[tuple[bytes, bytes]]:
        """All fields, pseudo-headers first."""
        return self.items()

    def names(self) -> list[bytes]:
        return list(self.single)

    def byte_size(self) -> int:
        """Sum of the lengths of names and values, pseudo-headers included, in bytes (Envoy's byteSize)."""
        size = 0
        for name, value in self.all_items():
            size += len(name) + len(value)
        return size

    def count(self) -> int:
        """Number of fields, pseudo-headers included."""
        return len(self.all_items())

    def _copy_fields(self, into: HeaderMap) -> None:
        into.single = dict(self.single)
        into.multi = None if self.multi is None else {name: list(values) for name, values in self.multi.items()}
        into.case = self.case

    def copy(self) -> HeaderMap:
        twin = HeaderMap()
        self._copy_fields(twin)
        return twin

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.all_items()!r})"


class RequestHeaderMap(HeaderMap):
    """Request fields. `authority` holds the Host field or `:authority`; the empty value means absent."""

    __slots__ = ("method", "path", "authority", "scheme", "protocol")

    def __init__(
        self,
        single: dict[bytes, bytes] | None = None,
        multi: dict[bytes, list[bytes]] | None = None,
        case: dict[bytes, bytes] | None = None,
        method: bytes = b"",
        path: bytes = b"",
        authority: bytes = b"",
        scheme: bytes = b"",
        protocol: bytes = b"",
    ) -> None:
        super().__init__(single, multi, case)
        self.method = method
        self.path = path
        self.authority = authority
        self.scheme = scheme
        # `:protocol` of extended CONNECT (RFC 8441), else empty.
        self.protocol = protocol

    def get(self, name: bytes) -> bytes | None:
        value = self.single.get(name)
        if value is None and name:
            if name[0] == 58:  # ':'
                if name == b":path":
                    value = self.path
                elif name == b":method":
                    value = self.method
                elif name == b":authority":
                    value = self.authority
                elif name == b":scheme":
                    value = self.scheme
                elif name == b":protocol":
                    value = self.protocol
                return value if value else None
            if name == b"host":
                return self.authority if self.authority else None
        return value

    def set(self, name: bytes, value: bytes) -> None:
        if name and name[0] == 58:
            self._set_pseudo(name, value)
        elif name == b"host":
            self.authority = value
        else:
            if self.multi is not None and name in self.multi:
                del self.multi[name]
            self.single[name] = value

    def add(self, name: bytes, value: bytes) -> None:
        if name and name[0] == 58:
            self._set_pseudo(name, value)
        elif name == b"host":
            self.authority = value
        else:
            HeaderMap.add(self, name, value)

    def remove(self, name: bytes) -> bool:
        if name and name[0] == 58:
            had = self.get(name) is not None
            self._set_pseudo(name, b"")
            return had
        if name == b"host":
            had = bool(self.authority)
            self.authority = b""
            return had
        return HeaderMap.remove(self, name)

    def _set_pseudo(self, name: bytes, value: bytes) -> None:
        if name == b":path":
            self.path = value
        elif name == b":method":
            self.method = value
        elif name == b":authority":
            self.authority = value
        elif name == b":scheme":
            self.scheme = value
        elif name == b":protocol":
            self.protocol = value

    def all_items(self) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        if self.authority:
            fields.append((b":authority", self.authority))
        if self.path:
            fields.append((b":path", self.path))
        if self.method:
            fields.append((b":method", self.method))
        if self.scheme:
            fields.append((b":scheme", self.scheme))
        if self.protocol:
            fields.append((b":protocol", self.protocol))
        fields.extend(self.items())
        return fields

    def copy(self) -> RequestHeaderMap:
        twin = RequestHeaderMap(
            method=self.method, path=self.path, authority=self.authority, scheme=self.scheme, protocol=self.protocol
        )
        self._copy_fields(twin)
        return twin


class ResponseHeaderMap(HeaderMap):
    """Response fields. `status` is the numeric status code."""

    __slots__ = ("status",)

    def __init__(
        self,
        single: dict[bytes, bytes] | None = None,
        multi: dict[bytes, list[bytes]] | None = None,
        case: dict[bytes, bytes] | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(single, multi, case)
        self.status = status

    def get(self, name: bytes) -> bytes | None:
        value = self.single.get(name)
        if value is None and name == b":status":
            return STATUS_TEXT_BYTES[self.status] if 0 < self.status < 1000 else None
        return value

    def set(self, name: bytes, value: bytes) -> None:
        if name == b":status":
            self.status = int(value)
            return
        if self.multi is not None and name in self.multi:
            del self.multi[name]
        self.single[name] = value

    def all_items(self) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        if self.status:
            fields.append((b":status", STATUS_TEXT_BYTES[self.status]))
        fields.extend(self.items())
        return fields

    def copy(self) -> ResponseHeaderMap:
        twin = ResponseHeaderMap(status=self.status)
        self._copy_fields(twin)
        return twin
