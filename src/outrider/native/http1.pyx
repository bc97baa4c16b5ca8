# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""HTTP/1 over llhttp: one call per header block, bodies as slices of what was fed.

llhttp finds spans; nothing of Python runs inside its callbacks. At the end of a header block, and at the end of a
message, the callbacks pause the parser, so everything that Python sees happens between two calls of `llhttp_execute`.
The interface is described in `http1.pyi`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Size
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from outrider.native.known_names import KNOWN_NAMES, METHODS, REQUEST_JOINED, RESPONSE_JOINED
from outrider.native.parse_error import ParseError

cdef extern from "Python.h":
    PyObject* PyDict_SetDefault(PyObject* d, PyObject* key, PyObject* value) except NULL

cdef extern from "llhttp.h":
    ctypedef struct llhttp_t:
        uint64_t content_length
        uint8_t type
        uint8_t method
        uint8_t http_major
        uint8_t http_minor
        uint16_t lenient_flags
        uint8_t upgrade
        uint8_t finish
        uint16_t flags
        uint16_t status_code
    ctypedef int (*llhttp_data_cb)(llhttp_t*, const char*, size_t) noexcept
    ctypedef int (*llhttp_cb)(llhttp_t*) noexcept
    ctypedef struct llhttp_settings_t:
        llhttp_cb on_message_begin
        llhttp_data_cb on_url
        llhttp_data_cb on_status
        llhttp_data_cb on_method
        llhttp_data_cb on_protocol
        llhttp_data_cb on_header_field
        llhttp_data_cb on_header_value
        llhttp_data_cb on_chunk_extension_name
        llhttp_data_cb on_chunk_extension_value
        llhttp_cb on_headers_complete
        llhttp_data_cb on_body
        llhttp_cb on_message_complete
        llhttp_cb on_method_complete
        llhttp_cb on_header_field_complete
        llhttp_cb on_header_value_complete
        llhttp_cb on_chunk_header
    void llhttp_init(llhttp_t*, int, const llhttp_settings_t*)
    void llhttp_reset(llhttp_t*)
    void llhttp_settings_init(llhttp_settings_t*)
    int llhttp_execute(llhttp_t*, const char*, size_t)
    int llhttp_message_needs_eof(const llhttp_t*)
    int llhttp_should_keep_alive(const llhttp_t*)
    void llhttp_resume(llhttp_t*)
    const char* llhttp_get_error_reason(const llhttp_t*)
    const char* llhttp_get_error_pos(const llhttp_t*)
    const char* llhttp_method_name(int)
    void llhttp_set_error_reason(llhttp_t*, const char*)

cdef enum:
    HPE_OK = 0
    HPE_INVALID_METHOD = 6
    HPE_INVALID_TRANSFER_ENCODING = 15
    HPE_PAUSED = 21
    HPE_PAUSED_UPGRADE = 22
    HPE_USER = 24

    F_CONNECTION_KEEP_ALIVE = 0x1
    F_CONNECTION_CLOSE = 0x2
    F_CONNECTION_UPGRADE = 0x4
    F_CHUNKED = 0x8
    F_UPGRADE = 0x10
    F_CONTENT_LENGTH = 0x20
    F_SKIPBODY = 0x40
    F_TRANSFER_ENCODING = 0x200

    LENIENT_CHUNKED_LENGTH = 0x2
    LENIENT_VERSION = 0x10
    LENIENT_SPACES_AFTER_CHUNK_SIZE = 0x200

    # Where in a message the parser is.
    IDLE = 0
    HEAD = 1
    BODY = 2
    TRAILERS = 3

    # Why llhttp paused.
    NOTE_NONE = 0
    NOTE_HEAD = 1
    NOTE_COMPLETE = 2

    FLAG_CONNECTION = 1
    FLAG_CHUNKED = 2
    FLAG_TRANSFER_ENCODING = 4
    FLAG_UPGRADE = 8
    FLAG_CONTENT_LENGTH = 16
    FLAG_END = 32
    FLAG_KEEP_ALIVE = 64

    KIND_SYNTAX = 0
    KIND_HEAD_TOO_LARGE = 1
    KIND_TOO_MANY = 2
    KIND_CHARACTER = 3
    KIND_LENGTH_AND_CODING = 4
    KIND_UNDERSCORE = 5
    KIND_TRUNCATED = 6
    KIND_EXTENSION = 7
    KIND_TRAILERS_TOO_LARGE = 8
    KIND_CODING = 9
    # Between the callbacks and `_raise` only.
    KIND_METHOD = 100

    FIRST_FIELDS = 32
    # Names up to this length are looked up; longer ones are rare.
    NAME_LIMIT = 64
    TABLE_SIZE = 1024
    CACHE_SIZE = 512

include "http1_names.pxi"
include "http1_spans.pxi"


cdef class Http1Parser:
    """Parser of one direction of one connection. See `http1.pyi`."""

    cdef State s
    cdef char* carry
    cdef size_t carry_length
    cdef size_t carry_capacity
    cdef size_t max_head
    cdef int mode
    cdef int underscores
    cdef bint keep_case
    cdef bint keep_reason
    cdef bint failed
    cdef bint stopped
    cdef bint raw
    cdef bint skip
    cdef bint end_told
    cdef readonly int dropped
    cdef bytes method_token
    cdef bytes host

    def __cinit__(self):
        self.carry = NULL
        self.s.fields = NULL
        self.s.pieces = NULL

    def __init__(self, int mode, size_t max_head_bytes, int max_fields, *, int underscores=0, bint keep_case=False,
                 bint keep_reason=False, bint allow_chunked_length=False, bint custom_methods=False,
                 size_t max_chunk_extension=65536):
        llhttp_init(&self.s.parser, mode, &_settings)
        self.mode = mode
        self.max_head = max_head_bytes
        self.s.max_fields = max_fields
        self.underscores = underscores
        self.keep_case = keep_case
        self.keep_reason = keep_reason
        self.s.max_extension = max_chunk_extension
        # Which version is acceptable is the codec's decision; whitespace behind a chunk size is what old servers send.
        self.s.parser.lenient_flags = LENIENT_VERSION | LENIENT_SPACES_AFTER_CHUNK_SIZE
        if allow_chunked_length:
            self.s.parser.lenient_flags |= LENIENT_CHUNKED_LENGTH
        self.s.custom = custom_methods and mode == 1
        self.s.capacity = FIRST_FIELDS
        self.s.fields = <Field*>malloc(FIRST_FIELDS * sizeof(Field))
        if self.s.fields == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.carry)
        free(self.s.fields)
        free(self.s.pieces)

    @property
    def started(self):
        return self.s.phase == HEAD or (self.s.phase == IDLE and self.carry_length != 0)

    @property
    def idle(self):
        return self.s.phase == IDLE and self.carry_length == 0

    def expect_no_body(self, bint skip):
        self.skip = skip

    def take_over(self):
        self.raw = True

    def stop(self):
        self.stopped = True

    def feed(self, handler, bytes data not None, Py_ssize_t start=0):
        cdef const char* base = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t pos = start
        cdef int err
        cdef bint informational
        cdef State* s = &self.s
        if self.failed or self.stopped or self.raw:
            raise ParseError(KIND_SYNTAX, "the parser has ended")
        s.origin = 0
        s.piece_count = 0
        if s.phase == HEAD or s.phase == TRAILERS:
            s.origin = <uintptr_t>(base + pos) - self.carry_length
        while True:
            s.note = NOTE_NONE
            if s.custom and s.phase == IDLE:
                pos = self._read_method(base, pos, end)
                if self.method_token is None:
                    return end
            elif self.mode == 2 and s.phase == IDLE and pos < end and base[pos] != 72:
                # llhttp would pass over empty lines; a server has no reason to send any.
                self.failed = True
                raise ParseError(KIND_SYNTAX, "Expected HTTP/")
            err = llhttp_execute(&s.parser, base + pos, end - pos)
            if err == HPE_OK:
                if s.phase == HEAD or s.phase == TRAILERS:
                    self._keep(base, end)
                if s.piece_count:
                    handler.on_body(self._take_body(data), False)
                return end
            if err != HPE_PAUSED:
                # What came before the error in the same feed is not delivered: the message is void.
                self.failed = True
                pos = llhttp_get_error_pos(&s.parser) - base
                self._raise(err, base, pos, end)
            pos = llhttp_get_error_pos(&s.parser) - base
            llhttp_resume(&s.parser)
            if s.note == NOTE_HEAD:
                self._head(handler, base, pos)
                if self.stopped or self.raw:
                    return pos
                s.parser.upgrade = 0
            else:
                informational = self.mode == 2 and s.parser.status_code < 200 and s.parser.status_code != 101
                if s.phase == TRAILERS:
                    if s.piece_count:
                        handler.on_body(self._take_body(data), False)
                    self._trailers(handler, base, pos)
                elif not self.end_told:
                    handler.on_body(self._take_body(data), True)
                llhttp_reset(&s.parser)
                s.phase = IDLE
                s.origin = 0
                s.piece_count = 0
                if not informational or self.stopped:
                    return pos

    def finish(self, handler):
        cdef State* s = &self.s
        if self.failed or self.stopped or self.raw or (s.phase == IDLE and self.carry_length == 0):
            return
        if s.phase == BODY and self.mode == 2 and llhttp_message_needs_eof(&s.parser):
            llhttp_reset(&s.parser)
            s.phase = IDLE
            handler.on_body(_EMPTY, True)
            return
        self.failed = True
        raise ParseError(KIND_TRUNCATED, "the connection ended within a message")

    cdef Py_ssize_t _read_method(self, const char* base, Py_ssize_t pos, Py_ssize_t end) except -1:
        """Take any token as a method: llhttp, which knows a list, is told GET's like instead."""
        cdef Py_ssize_t begin
        cdef bytes known
        cdef const char* told
        cdef State* s = &self.s
        self.method_token = None
        if self.carry_length == 0:
            while pos < end and (base[pos] == 13 or base[pos] == 10):
                pos += 1
        begin = pos
        while pos < end and _token[<unsigned char>base[pos]]:
            pos += 1
        s.origin = <uintptr_t>(base + begin) - self.carry_length
        if pos == end:
            if pos > begin:
                self._keep(base, end)
            return pos
        if pos - begin + self.carry_length == 0 or base[pos] != 32:
            self.failed = True
            raise ParseError(KIND_SYNTAX, "Invalid method encountered")
        if self.carry_length:
            self._append_carry(base + begin, pos - begin)
            self.method_token = PyBytes_FromStringAndSize(self.carry, self.carry_length)
            # The space is read by llhttp: it belongs to the bytes of this feed.
            s.origin = <uintptr_t>(base + pos) - self.carry_length
        else:
            self.method_token = PyBytes_FromStringAndSize(base + begin, pos - begin)
        known = _methods.get(self.method_token)
        if known is None:
            llhttp_execute(&s.parser, b"POST", 4)
        else:
            self.method_token = known
            told = PyBytes_AS_STRING(known)
            llhttp_execute(&s.parser, told, PyBytes_GET_SIZE(known))
        return pos

    cdef int _append_carry(self, const char* text, size_t length) except -1:
        cdef size_t needed = self.carry_length + length
        cdef size_t capacity
        cdef char* grown
        if needed > self.carry_capacity:
            capacity = needed * 2 if needed < 4096 else needed + 4096
            grown = <char*>realloc(self.carry, capacity)
            if grown == NULL:
                raise MemoryError
            self.carry = grown
            self.carry_capacity = capacity
        memcpy(self.carry + self.carry_length, text, length)
        self.carry_length = needed
        return 0

    cdef int _keep(self, const char* base, Py_ssize_t end) except -1:
        """Save the part of an unfinished head that is in this feed."""
        cdef size_t total = <uintptr_t>(base + end) - self.s.origin
        if total > self.max_head:
            self.failed = True
            self._too_large()
        return self._append_carry(base + end - (total - self.carry_length), total - self.carry_length)

    cdef int _too_large(self) except -1:
        if self.s.phase == TRAILERS:
            raise ParseError(KIND_TRAILERS_TOO_LARGE, "trailers size exceeds limit")
        raise ParseError(KIND_HEAD_TOO_LARGE, "headers size exceeds limit")

    cdef void _drop_carry(self) noexcept:
        self.carry_length = 0
        if self.carry_capacity:
            free(self.carry)
            self.carry = NULL
            self.carry_capacity = 0

    cdef const char* _head_text(self, const char* base, Py_ssize_t pos) except NULL:
        """All bytes of the head (or trailers) that ends at `pos` in this feed, in one piece."""
        cdef size_t total = <uintptr_t>(base + pos) - self.s.origin
        if total > self.max_head:
            self.failed = True
            self._too_large()
        if self.carry_length:
            self._append_carry(base + pos - (total - self.carry_length), total - self.carry_length)
            return self.carry
        return <const char*>self.s.origin

    cdef int _head(self, handler, const char* base, Py_ssize_t pos) except -1:
        cdef State* s = &self.s
        cdef const char* text = self._head_text(base, pos)
        cdef Py_ssize_t size = <uintptr_t>(base + pos) - s.origin
        cdef dict single = {}
        cdef dict multi = None
        cdef dict case = {} if self.keep_case else None
        cdef bytes host
        cdef bytes method
        cdef bytes target
        cdef bytes reason = None
        cdef int flags = 0
        cdef int version = s.parser.http_major * 10 + s.parser.http_minor
        cdef int status = s.parser.status_code
        cdef uint16_t found = s.parser.flags
        cdef object length = -1
        if s.foreign:
            self.failed = True
            raise ParseError(KIND_SYNTAX, "Expected HTTP/")
        multi = self._fields(text, single, case, &flags)
        host = self.host
        if self.mode == 1:
            target = PyBytes_FromStringAndSize(text + s.url, s.url_length)
        elif self.keep_reason:
            reason = PyBytes_FromStringAndSize(text + s.reason, s.reason_length)
        if flags & FLAG_CHUNKED:
            # llhttp does not see it behind white space at the end of the line.
            s.parser.flags |= F_CHUNKED
        self._drop_carry()
        s.phase = BODY
        s.origin = 0
        if found & F_CONTENT_LENGTH:
            flags |= FLAG_CONTENT_LENGTH
            length = s.parser.content_length
        if found & F_UPGRADE and found & F_CONNECTION_UPGRADE:
            flags |= FLAG_UPGRADE
        if self.mode == 1:
            if s.custom:
                method = self.method_token
                self.method_token = None
            else:
                method = <bytes>_method_names[s.parser.method]
            if llhttp_should_keep_alive(&s.parser):
                flags |= FLAG_KEEP_ALIVE
            self.end_told = not (flags & FLAG_TRANSFER_ENCODING) and s.parser.content_length == 0
            if self.end_told:
                flags |= FLAG_END
            handler.on_request_head(method, target, host, version, flags, length, single, multi, case, size)
            return 0
        if self.skip and status >= 200:
            s.parser.flags |= F_SKIPBODY
        if llhttp_should_keep_alive(&s.parser):
            flags |= FLAG_KEEP_ALIVE
        self.end_told = (
            status < 200 or status == 204 or status == 304 or self.skip
            or (flags & FLAG_CONTENT_LENGTH and s.parser.content_length == 0 and not (flags & FLAG_TRANSFER_ENCODING))
        )
        if self.end_told:
            flags |= FLAG_END
            # Also for the statuses below 200 that llhttp does not know.
            s.parser.flags |= F_SKIPBODY
        handler.on_response_head(status, reason, version, flags, length, single, multi, case, size)
        return 0

    cdef int _trailers(self, handler, const char* base, Py_ssize_t pos) except -1:
        cdef const char* text = self._head_text(base, pos)
        cdef dict single = {}
        cdef dict case = {} if self.keep_case else None
        cdef dict multi
        cdef int flags = 0
        multi = self._fields(text, single, case, &flags)
        if self.host is not None:
            single[b"host"] = self.host
        self._drop_carry()
        handler.on_trailers(single, multi, case)
        return 0

    cdef dict _fields(self, const char* text, dict single, dict case, int* flags):
        """Fill `single` (and `case`) from the spans; returns the values of names that repeat, or None."""
        cdef State* s = &self.s
        cdef Field* field
        cdef Slot* slot
        cdef unsigned char buffer[NAME_LIMIT]
        cdef unsigned char c
        cdef const char* start
        cdef const char* value_start
        cdef uint32_t h
        cdef uint32_t place
        cdef Py_ssize_t length
        cdef Py_ssize_t value_length
        cdef Py_ssize_t i
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t grown
        cdef int index
        cdef int special
        cdef int joined
        cdef int side = self.mode
        cdef bint underscore
        cdef bytes name
        cdef bytes value
        cdef dict multi = None
        self.host = None
        for index in range(s.count):
            field = &s.fields[index]
            start = text + field.name
            length = field.name_length
            value_start = text + field.value
            value_length = field.value_length
            while value_length > 0 and (value_start[value_length - 1] == 32 or value_start[value_length - 1] == 9):
                value_length -= 1
            underscore = False
            special = SPECIAL_NONE
            joined = 0
            if length <= NAME_LIMIT:
                h = 2166136261u ^ <uint32_t>length
                for i in range(length):
                    c = _lower[<unsigned char>start[i]]
                    underscore = underscore or c == 95
                    buffer[i] = c
                    h = (h ^ c) * 16777619u
                h = h ^ (h >> 15)
                place = h % TABLE_SIZE
                while True:
                    slot = &_table[place]
                    if slot.name == NULL:
                        slot = &_cache[h % CACHE_SIZE]
                        if (slot.name != NULL and slot.hash == h
                                and PyBytes_GET_SIZE(<object>slot.name) == length
                                and memcmp(PyBytes_AS_STRING(<object>slot.name), buffer, length) == 0):
                            name = <bytes>slot.name
                        else:
                            name = PyBytes_FromStringAndSize(<char*>buffer, length)
                            hash(name)
                            Py_XDECREF(slot.name)
                            Py_INCREF(name)
                            slot.name = <PyObject*>name
                            slot.hash = h
                        break
                    if (slot.hash == h and PyBytes_GET_SIZE(<object>slot.name) == length
                            and memcmp(PyBytes_AS_STRING(<object>slot.name), buffer, length) == 0):
                        name = <bytes>slot.name
                        special = slot.special
                        joined = slot.joined
                        break
                    place = (place + 1) % TABLE_SIZE
            else:
                name = PyBytes_FromStringAndSize(start, length).lower()
                underscore = b"_" in name
            if underscore and self.underscores:
                self.dropped += 1
                if self.underscores == 1:
                    self.failed = True
                    raise ParseError(KIND_UNDERSCORE, "header name contains underscores")
                continue
            value = PyBytes_FromStringAndSize(value_start, value_length)
            if case is not None and name not in case:
                case[name] = PyBytes_FromStringAndSize(start, length)
            if special:
                if special == SPECIAL_CODING and s.phase == HEAD:
                    # The framing is between the two ends of one connection: it goes into the flags only.
                    if flags[0] & FLAG_TRANSFER_ENCODING == 0 and value.lower() == _CHUNKED:
                        flags[0] |= FLAG_CHUNKED
                    else:
                        flags[0] &= ~FLAG_CHUNKED
                    flags[0] |= FLAG_TRANSFER_ENCODING
                    continue
                if special == SPECIAL_CONNECTION:
                    flags[0] |= FLAG_CONNECTION
                elif special == SPECIAL_HOST and side == 1:
                    self.host = value if self.host is None else self.host + _COMMA + value
                    continue
            # By size, not by identity: CPython shares one object for each value of zero or one byte.
            PyDict_SetDefault(<PyObject*>single, <PyObject*>name, <PyObject*>value)
            grown = PyDict_Size(single)
            if grown != size:
                size = grown
            elif joined & side:
                single[name] = <bytes>single[name] + _COMMA + value
            else:
                if multi is None:
                    multi = {}
                if name in multi:
                    (<list>multi[name]).append(value)
                else:
                    multi[name] = [single[name], value]
        return multi

    cdef bytes _take_body(self, bytes data):
        """The body bytes of this feed as one object: `data` itself when it is nothing else."""
        cdef State* s = &self.s
        cdef Piece* pieces = s.pieces
        cdef size_t total
        cdef char* to
        cdef bytes whole
        cdef int i
        cdef int count = s.piece_count
        s.piece_count = 0
        if count == 0:
            return _EMPTY
        if count == 1:
            if pieces[0].start == PyBytes_AS_STRING(data) and pieces[0].length == <size_t>PyBytes_GET_SIZE(data):
                return data
            return PyBytes_FromStringAndSize(pieces[0].start, pieces[0].length)
        total = 0
        for i in range(count):
            total += pieces[i].length
        whole = PyBytes_FromStringAndSize(NULL, total)
        to = PyBytes_AS_STRING(whole)
        for i in range(count):
            memcpy(to, pieces[i].start, pieces[i].length)
            to += pieces[i].length
        return whole

    cdef int _raise(self, int err, const char* base, Py_ssize_t pos, Py_ssize_t end) except -1:
        cdef State* s = &self.s
        cdef const char* said = llhttp_get_error_reason(&s.parser)
        cdef unsigned char c
        cdef str text = "" if said == NULL else said.decode("latin-1")
        cdef int kind = KIND_SYNTAX
        if err == HPE_USER:
            if s.error == KIND_TOO_MANY:
                text = "trailers count exceeds limit" if s.phase == TRAILERS else "headers count exceeds limit"
                raise ParseError(KIND_TOO_MANY, text)
            if s.error == KIND_EXTENSION:
                raise ParseError(KIND_EXTENSION, "chunk extension exceeds limit")
            if s.error == KIND_METHOD:
                raise ParseError(KIND_SYNTAX, "Invalid method encountered")
            raise MemoryError
        if (s.phase == HEAD or s.phase == TRAILERS) and s.origin and <uintptr_t>(base + end) - s.origin > self.max_head:
            self._too_large()
        if s.phase == HEAD and "can't be present with" in text:
            kind = KIND_LENGTH_AND_CODING
        elif s.phase == HEAD and err == HPE_INVALID_TRANSFER_ENCODING:
            kind = KIND_CODING
        elif err != HPE_INVALID_METHOD and (s.phase == HEAD or s.phase == TRAILERS) and 0 <= pos < end:
            c = <unsigned char>base[pos]
            if (c < 32 and c != 9 and c != 10 and c != 13) or c == 127:
                kind = KIND_CHARACTER
                text = "header contains invalid chars"
        raise ParseError(kind, text)
