"""`TlsParameters`: versions, cipher suites, groups and signature algorithms, checked and applied to an SSL_CTX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outrider.network.tls.cipher_suites import DEFAULT_SUITES, UNSERVED, CipherError, expand
from outrider.network.tls.openssl import ffi, lib, take_errors

if TYPE_CHECKING:
    from outrider.config.view import View

TLS_1_0: Final = 0x0301
TLS_1_1: Final = 0x0302
TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304

_VERSIONS: Final = {"TLSv1_0": TLS_1_0, "TLSv1_1": TLS_1_1, "TLSv1_2": TLS_1_2, "TLSv1_3": TLS_1_3}
# The groups that BoringSSL can be told to use, and its default in Envoy.
_GROUPS: Final = ("P-256", "P-384", "P-521", "prime256v1", "X25519", "X25519MLKEM768", "MLKEM1024")
DEFAULT_GROUPS: Final = ["X25519MLKEM768", "X25519", "P-256"]
# In the order of a BoringSSL client with AES instructions; servers take OpenSSL's order.
_CLIENT_SUITES_13: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"


class TlsParameters:
    """With Envoy's defaults where nothing is set: servers TLS 1.2 to 1.3, clients TLS 1.2."""

    __slots__ = ("is_client", "minimum", "maximum", "suites", "groups", "signature_algorithms")

    def __init__(self, is_client: bool) -> None:
        self.is_client = is_client
        self.minimum: int = TLS_1_2
        self.maximum: int = TLS_1_2 if is_client else TLS_1_3
        # OpenSSL's names, in order of preference.
        self.suites: list[str] = expand(DEFAULT_SUITES)
        self.groups: list[str] = DEFAULT_GROUPS
        # Empty: the library's.
        self.signature_algorithms: list[str] = []

    def read(self, view: View | None) -> None:
        """Raises ConfigError."""
        if view is None:
            return
        self.minimum = _VERSIONS.get(view.enum("tls_minimum_protocol_version"), self.minimum)
        self.maximum = _VERSIONS.get(view.enum("tls_maximum_protocol_version"), self.maximum)
        given = view.texts("cipher_suites")
        if given:
            self.suites = _read_suites(given, view)
        # An entry may itself be a list: Envoy joins them with colons.
        groups = ":".join(view.texts("ecdh_curves")).split(":")
        if groups != [""]:
            self.groups = groups
            if any(group not in _GROUPS for group in groups) or not _accepted(lib.SSL_CTX_set1_curves_list, groups):
                raise view.error(f"Failed to initialize ECDH curves {':'.join(groups)}", "ecdh_curves")
        algorithms = view.texts("signature_algorithms")
        if algorithms:
            self.signature_algorithms = algorithms
            if not _accepted(lib.SSL_CTX_set1_sigalgs_list, algorithms):
                raise view.error(
                    f"Failed to initialize TLS signature algorithms {':'.join(algorithms)}", "signature_algorithms"
                )

    def apply(self, handle: Any) -> None:
        """To an SSL_CTX. The names have been checked before."""
        lib.SSL_CTX_set_min_proto_version(handle, self.minimum)
        lib.SSL_CTX_set_max_proto_version(handle, self.maximum)
        # OpenSSL's own security levels forbid more than BoringSSL does; TLS 1.0 and 1.1 need SHA-1.
        level = 0 if self.minimum < TLS_1_2 else 1
        lib.SSL_CTX_set_cipher_list(handle, f"{':'.join(self.suites)}:@SECLEVEL={level}".encode())
        if self.is_client:
            lib.SSL_CTX_set_ciphersuites(handle, _CLIENT_SUITES_13)
        if lib.SSL_CTX_set1_curves_list(handle, ":".join(self.groups).encode()) != 1:
            # A library without the hybrid group still serves the others of the default.
            lib.SSL_CTX_set1_curves_list(handle, b":".join(each.encode() for each in self.groups[1:]))
        if self.signature_algorithms:
            lib.SSL_CTX_set1_sigalgs_list(handle, ":".join(self.signature_algorithms).encode())
        take_errors()


def _read_suites(given: list[str], view: View) -> list[str]:
    try:
        suites = expand(given)
    except CipherError as error:
        raise view.error(
            f"Failed to initialize cipher suites {':'.join(given)}. The following ciphers were rejected when tried "
            f"individually: {', '.join(error.rejected)}",
            "cipher_suites",
        ) from None
    served = [suite for suite in suites if suite not in UNSERVED]
    if not served or (len(served) < len(suites) and any(suite in ":".join(given) for suite in UNSERVED)):
        raise view.error("DES-CBC3-SHA is not supported by this version of outrider", "cipher_suites")
    return served


def _accepted(setter: Any, names: list[str]) -> bool:
    """Whether OpenSSL takes a list of names."""
    handle = ffi.gc(lib.SSL_CTX_new(lib.TLS_method()), lib.SSL_CTX_free)
    accepted: bool = setter(handle, ":".join(names).encode()) == 1
    take_errors()
    return accepted
