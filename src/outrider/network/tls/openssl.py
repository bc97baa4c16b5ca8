"""The OpenSSL of the `cryptography` package: its binding, error queue, and reading of PEM and DER.

Importing this loads the library (some 30 ms), so only code that runs when TLS is configured does.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding

lib: Final[Any] = Binding.lib
ffi: Final[Any] = Binding.ffi
NULL: Final[Any] = ffi.NULL

# The binding is not a public interface of `cryptography`: functions come and go. These came late.
for _name in ("SSL_CTX_set1_curves_list", "SSL_CTX_set1_sigalgs_list", "SSL_get0_group_name", "d2i_X509_CRL_bio"):
    if not hasattr(lib, _name):
        raise ImportError(f"this version of the cryptography package does not offer {_name}")

# SSL_OP_PRIORITIZE_CHACHA and SSL_MODE_NO_AUTO_CHAIN are not in the binding; OpenSSL keeps such bits for good.
OP_PRIORITIZE_CHACHA: Final = 1 << 21
MODE_NO_AUTO_CHAIN: Final = 1 << 3

# One read or write of the engine passes through these; they are process-wide, since nothing is kept in them.
READ_SIZE: Final = 256 * 1024
READ_BUFFER: Final[Any] = ffi.new("char[]", READ_SIZE)
# Plaintext per SSL_write, and room for its records: 16 KiB each, at most 256 bytes around it (RFC 8446 section 5.2).
WRITE_CHUNK: Final = 128 * 1024
WRITE_SIZE: Final = WRITE_CHUNK + 16 * 1024
WRITE_BUFFER: Final[Any] = ffi.new("char[]", WRITE_SIZE)


class OpenSslError:
    """One entry of the error queue: `SSL routines`, OpenSSL's number within it, and its text."""

    __slots__ = ("library", "reason", "text")

    def __init__(self, library: str, reason: int, text: str) -> None:
        self.library = library
        self.reason = reason
        self.text = text

    def __repr__(self) -> str:
        return f"{self.library}: {self.text} ({self.reason})"


def take_errors() -> list[OpenSslError]:
    """Empty the error queue, oldest first."""
    found: list[OpenSslError] = []
    while True:
        code = lib.ERR_get_error()
        if code == 0:
            return found
        found.append(
            OpenSslError(_text(lib.ERR_lib_error_string(code)), lib.ERR_GET_REASON(code), _text(
                lib.ERR_reason_error_string(code)
            ))
        )


def _text(pointer: Any) -> str:
    return "" if pointer == NULL else ffi.string(pointer).decode("utf-8", "replace")


def c_text(pointer: Any) -> str:
    """A C string; empty for NULL."""
    return _text(pointer)


def _bio(data: bytes) -> tuple[Any, Any]:
    """A BIO over `data` and the buffer that must outlive it."""
    buffer = ffi.new("char[]", data)
    return ffi.gc(lib.BIO_new_mem_buf(buffer, len(data)), lib.BIO_free), buffer


def read_private_key(pem: bytes) -> Any:
    """An EVP_PKEY from an unencrypted PEM; None (and the error queue says why) for anything else."""
    bio, keep = _bio(pem)
    # Without a user pointer OpenSSL would ask for a password on the terminal.
    key = lib.PEM_read_bio_PrivateKey(bio, NULL, NULL, ffi.new("char[]", b""))
    del keep
    return None if key == NULL else ffi.gc(key, lib.EVP_PKEY_free)


def certificate_from_der(der: bytes) -> Any:
    """An X509; None for bytes that are no certificate."""
    bio, keep = _bio(der)
    certificate = lib.d2i_X509_bio(bio, NULL)
    del keep
    if certificate == NULL:
        take_errors()
        return None
    return ffi.gc(certificate, lib.X509_free)


def certificate_der(certificate: Any) -> bytes:
    """DER of an X509; empty for NULL."""
    if certificate == NULL:
        return b""
    bio = ffi.gc(lib.BIO_new(lib.BIO_s_mem()), lib.BIO_free)
    if lib.i2d_X509_bio(bio, certificate) != 1:
        take_errors()
        return b""
    pointer = ffi.new("char **")
    size = lib.BIO_get_mem_data(bio, pointer)
    return bytes(ffi.buffer(pointer[0], size)[:])


def crl_from_der(der: bytes) -> Any:
    """An X509_CRL; None for bytes that are none."""
    bio, keep = _bio(der)
    crl = lib.d2i_X509_CRL_bio(bio, NULL)
    del keep
    if crl == NULL:
        take_errors()
        return None
    return ffi.gc(crl, lib.X509_CRL_free)


def verify_error_text(error: int) -> str:
    """What X509_verify_cert found, as BoringSSL words it."""
    return _text(lib.X509_verify_cert_error_string(error)).replace("self-signed", "self signed")
