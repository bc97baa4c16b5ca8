# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""Records through an OpenSSL connection without a crossing of cffi for each call. See `tls.pyi`.

Nothing is linked here: the functions are those of the library that made the connection, given by address.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

ctypedef int (*transfer_function)(void*, void*, int) noexcept
ctypedef int (*error_function)(void*, int) noexcept
ctypedef long (*look_function)(void*, char**) noexcept

cdef enum:
    ERROR_WANT_READ = 2
    READ_SIZE = 262144
    WRITE_CHUNK = 131072

cdef transfer_function _ssl_read = NULL
cdef transfer_function _ssl_write = NULL
cdef transfer_function _bio_read = NULL
cdef transfer_function _bio_write = NULL
cdef error_function _ssl_error = NULL
cdef look_function _bio_look = NULL
# Passing storage only: nothing is kept in it between two calls.
cdef char* _buffer = NULL
cdef bytes _EMPTY = b""


def bind(dict functions not None):
    global _ssl_read, _ssl_write, _bio_read, _bio_write, _ssl_error, _bio_look, _buffer
    _ssl_read = <transfer_function><uintptr_t>functions["SSL_read"]
    _ssl_write = <transfer_function><uintptr_t>functions["SSL_write"]
    _bio_read = <transfer_function><uintptr_t>functions["BIO_read"]
    _bio_write = <transfer_function><uintptr_t>functions["BIO_write"]
    _ssl_error = <error_function><uintptr_t>functions["SSL_get_error"]
    _bio_look = <look_function><uintptr_t>functions["BIO_get_mem_data"]
    if _buffer == NULL:
        _buffer = <char*>malloc(READ_SIZE)
        if _buffer == NULL:
            raise MemoryError


cdef class Records:
    """See `tls.pyi`."""

    cdef void* ssl
    cdef void* incoming
    cdef void* outgoing
    cdef readonly int error

    def __init__(self, uintptr_t ssl, uintptr_t incoming, uintptr_t outgoing):
        self.ssl = <void*>ssl
        self.incoming = <void*>incoming
        self.outgoing = <void*>outgoing

    def feed(self, bytes data not None):
        _bio_write(self.incoming, PyBytes_AS_STRING(data), <int>PyBytes_GET_SIZE(data))

    def read(self):
        cdef int filled = 0
        cdef int size
        cdef char* unused
        while True:
            size = _ssl_read(self.ssl, _buffer + filled, READ_SIZE - filled)
            if size <= 0:
                self.error = _ssl_error(self.ssl, size)
                break
            filled += size
            if filled == READ_SIZE:
                self.error = 0
                break
            if _bio_look(self.incoming, &unused) == 0:
                # All that came is decrypted: records are read whole.
                self.error = ERROR_WANT_READ
                break
        if filled == 0:
            return _EMPTY
        return PyBytes_FromStringAndSize(_buffer, filled)

    def write(self, bytes data not None, Py_ssize_t position):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data) - position
        if size > WRITE_CHUNK:
            size = WRITE_CHUNK
        if _ssl_write(self.ssl, PyBytes_AS_STRING(data) + position, <int>size) != size:
            return -1
        return position + size

    def take(self):
        cdef char* start
        cdef long size = _bio_look(self.outgoing, &start)
        cdef bytes taken
        if size <= 0:
            return _EMPTY
        taken = PyBytes_FromStringAndSize(NULL, size)
        _bio_read(self.outgoing, PyBytes_AS_STRING(taken), <int>size)
        return taken
