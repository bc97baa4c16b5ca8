"""Which certificate a server shows: by the name that the client asks for, and by the kind of key it can verify.

Source: Envoy documentation, `DownstreamTlsContext.full_scan_certs_on_sni_mismatch` and "Certificate selection". OpenSSL
chooses between an RSA and an ECDSA certificate by what the client offers, so the two go into one SSL_CTX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.network.tls.certificates import KeyPair
    from outrider.network.tls.context import _PairLoader


class CertificateChoice:
    """All certificates of a server. Names are in lower case; those with a wildcard are kept as `.domain`."""

    __slots__ = ("pairs", "full_scan", "_by_name", "_default", "_first", "_loader", "_handles")

    def __init__(self, pairs: list[KeyPair], full_scan: bool, loader: _PairLoader) -> None:
        self.pairs = pairs
        self.full_scan = full_scan
        self._loader = loader
        self._handles: dict[tuple[int, ...], Any] = {}
        by_name: dict[str, list[int]] = {}
        for index, pair in enumerate(pairs):
            for name in pair.dns_names:
                by_name.setdefault(name[1:] if name.startswith("*.") else name, []).append(index)
        # Without a name, or with one that nobody serves where all are to be looked through.
        self._default: tuple[int, ...] = self._best(list(range(len(pairs))))
        self._first: Any = None
        self._by_name: dict[str, Any] = {}
        if len(pairs) > 1:
            self._first = self._handle((0,))
            for name, indexes in by_name.items():
                self._by_name[name] = self._handle(self._best(indexes))

    def _best(self, indexes: list[int]) -> tuple[int, ...]:
        """The first of each kind of key."""
        chosen: list[int] = []
        for index in indexes:
            if all(self.pairs[index].is_ecdsa != self.pairs[other].is_ecdsa for other in chosen):
                chosen.append(index)
        return tuple(chosen)

    def _handle(self, indexes: tuple[int, ...]) -> Any:
        handle = self._handles.get(indexes)
        if handle is None:
            handle = self._handles[indexes] = self._loader.new([self.pairs[index] for index in indexes])
        return handle

    def load_default(self, handle: Any) -> None:
        """Put the certificates for clients that ask for no name into the main SSL_CTX."""
        self._loader.load(handle, [self.pairs[index] for index in self._default])

    def choose(self, name: str) -> Any:
        """The SSL_CTX for a name; None for the default."""
        if not name:
            return None
        name = name.lower()
        found = self._by_name.get(name)
        if found is None:
            dot = name.find(".", 1)
            if 0 < dot < len(name) - 1:
                found = self._by_name.get(name[dot:])
        if found is None and not self.full_scan:
            return self._first
        return found
