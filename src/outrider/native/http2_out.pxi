# The sending half of a stream.

cdef class OutStream:
    """The sending half of one stream: what waits for the peer's window, and what has been sent."""

    cdef list chunks
    cdef Py_ssize_t head
    cdef Py_ssize_t offset
    cdef readonly Py_ssize_t pending
    cdef bint ended
    cdef bint deferred
    cdef dict trailers
    cdef dict trailers_multi
    cdef bint has_trailers
    # Bytes on the wire, frame heads included.
    cdef readonly Py_ssize_t wire_bytes
    cdef readonly Py_ssize_t header_bytes
    # `pending` has been above the limit and not yet below half of it.
    cdef readonly bint high

    def __cinit__(self):
        self.chunks = []
        self.head = 0
        self.offset = 0
        self.pending = 0
        self.ended = False
        self.deferred = False
        self.has_trailers = False
        self.wire_bytes = 0
        self.header_bytes = 0
        self.high = False

    cdef void take(self, uint8_t* to, Py_ssize_t length):
        """Copy the next `length` bytes, of which there are enough."""
        cdef bytes chunk
        cdef Py_ssize_t n
        self.pending -= length
        while length > 0:
            chunk = <bytes>self.chunks[self.head]
            n = PyBytes_GET_SIZE(chunk) - self.offset
            if n > length:
                memcpy(to, PyBytes_AS_STRING(chunk) + self.offset, length)
                self.offset += length
                return
            memcpy(to, PyBytes_AS_STRING(chunk) + self.offset, n)
            to += n
            length -= n
            self.offset = 0
            self.chunks[self.head] = None
            self.head += 1
        if self.head == len(self.chunks):
            self.chunks.clear()
            self.head = 0
        elif self.head > 256:
            del self.chunks[:self.head]
            self.head = 0
