"""Records through an OpenSSL connection without a crossing of cffi for each call."""

def bind(functions: dict[str, int]) -> None:
    """Addresses of the library's SSL_read, SSL_write, BIO_read, BIO_write, SSL_get_error and BIO_get_mem_data."""

class Records:
    """An SSL between two memory BIOs, all given by address; they must outlive this."""

    # SSL_get_error of the last `read`; 0 when its buffer was full and there may be more.
    error: int

    def __init__(self, ssl: int, incoming: int, outgoing: int) -> None: ...
    def feed(self, data: bytes) -> None:
        """Bytes from the wire."""

    def read(self) -> bytes:
        """What can be decrypted, up to a buffer's size; `error` says why there is no more."""

    def write(self, data: bytes, position: int) -> int:
        """Encrypt a piece of `data` from `position` on; returns where it ends, -1 for a failure."""

    def take(self) -> bytes:
        """Everything that is to be sent."""
