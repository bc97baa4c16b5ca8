"""The native records of TLS, where they are built and fit the library; elsewhere cffi's calls serve."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outrider.native.tls import Records

try:
    if os.environ.get("OUTRIDER_NATIVE") == "0":
        raise ImportError
    from outrider.native import tls as _tls
except ImportError:
    BUILT = False
else:
    BUILT = True

_FUNCTIONS = ("SSL_read", "SSL_write", "BIO_read", "BIO_write", "SSL_get_error", "BIO_get_mem_data")


def bind() -> bool:
    """Take the functions of the OpenSSL that `cryptography` brings. False: not to be had this way."""
    if not BUILT:
        return False
    try:
        from cryptography.hazmat.bindings._rust import _openssl
    except ImportError:
        return False
    library: Any = _openssl
    try:
        found = {
            name: int(library.ffi.cast("uintptr_t", library.ffi.addressof(library.lib, name))) for name in _FUNCTIONS
        }
    except (AttributeError, TypeError):
        return False
    _tls.bind(found)
    return True


def new_records(ffi: Any, ssl: Any, incoming: Any, outgoing: Any) -> Records:
    """For pointers of cffi. Only after `bind`."""
    cast = ffi.cast
    kind = _kind(ffi)
    return _tls.Records(int(cast(kind, ssl)), int(cast(kind, incoming)), int(cast(kind, outgoing)))


_KINDS: dict[str, Any] = {}


def _kind(ffi: Any) -> Any:
    """The type of addresses, parsed once."""
    kind = _KINDS.get("uintptr_t")
    if kind is None:
        kind = _KINDS["uintptr_t"] = ffi.typeof("uintptr_t")
    return kind
