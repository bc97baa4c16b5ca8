# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""HTTP/2 sessions over nghttp2. See http2.pyi for the interface."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Size
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from outrider.native.http2_error import Http2Error
from outrider.native.known_names import KNOWN_NAMES, REQUEST_JOINED, RESPONSE_JOINED

cdef extern from "Python.h":
    PyObject* PyDict_SetDefault(PyObject* p, PyObject* key, PyObject* value)

cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_session:
        pass
    ctypedef struct nghttp2_option:
        pass
    ctypedef struct nghttp2_session_callbacks:
        pass
    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags
    ctypedef struct nghttp2_headers:
        nghttp2_frame_hd hd
        int cat
    ctypedef struct nghttp2_data:
        nghttp2_frame_hd hd
        size_t padlen
    ctypedef struct nghttp2_rst_stream:
        nghttp2_frame_hd hd
        uint32_t error_code
    ctypedef struct nghttp2_ping:
        nghttp2_frame_hd hd
        uint8_t opaque_data[8]
    ctypedef struct nghttp2_goaway:
        nghttp2_frame_hd hd
        int32_t last_stream_id
        uint32_t error_code
    ctypedef union nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_headers headers
        nghttp2_data data
        nghttp2_rst_stream rst_stream
        nghttp2_ping ping
        nghttp2_goaway goaway
    ctypedef struct nghttp2_nv:
        uint8_t* name
        uint8_t* value
        size_t namelen
        size_t valuelen
        uint8_t flags
    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value
    ctypedef union nghttp2_data_source:
        int fd
        void* ptr
    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        ssize_t (*read_callback)(nghttp2_session*, int32_t, uint8_t*, size_t, uint32_t*, nghttp2_data_source*,
                                 void*) noexcept
    enum:
        NGHTTP2_ERR_CALLBACK_FAILURE
        NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        NGHTTP2_ERR_DEFERRED
        NGHTTP2_ERR_BAD_CLIENT_MAGIC
        NGHTTP2_ERR_FLOODED
        NGHTTP2_FLAG_NONE
        NGHTTP2_FLAG_END_STREAM
        NGHTTP2_FLAG_ACK
        NGHTTP2_DATA
        NGHTTP2_HEADERS
        NGHTTP2_PRIORITY
        NGHTTP2_RST_STREAM
        NGHTTP2_SETTINGS
        NGHTTP2_PING
        NGHTTP2_GOAWAY
        NGHTTP2_WINDOW_UPDATE
        NGHTTP2_CONTINUATION
        NGHTTP2_HCAT_REQUEST
        NGHTTP2_HCAT_RESPONSE
        NGHTTP2_HCAT_HEADERS
        NGHTTP2_DATA_FLAG_EOF
        NGHTTP2_DATA_FLAG_NO_END_STREAM
        NGHTTP2_DATA_FLAG_NO_COPY
        NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL

    int nghttp2_session_callbacks_new(nghttp2_session_callbacks**)
    void nghttp2_session_callbacks_del(nghttp2_session_callbacks*)
    void nghttp2_session_callbacks_set_on_begin_frame_callback(
        nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame_hd*, void*) noexcept)
    void nghttp2_session_callbacks_set_on_begin_headers_callback(
        nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, void*) noexcept)
    void nghttp2_session_callbacks_set_on_header_callback(
        nghttp2_session_callbacks*,
        int (*)(nghttp2_session*, const nghttp2_frame*, const uint8_t*, size_t, const uint8_t*, size_t, uint8_t,
                void*) noexcept)
    void nghttp2_session_callbacks_set_on_invalid_header_callback(
        nghttp2_session_callbacks*,
        int (*)(nghttp2_session*, const nghttp2_frame*, const uint8_t*, size_t, const uint8_t*, size_t, uint8_t,
                void*) noexcept)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(
        nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, void*) noexcept)
    void nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
        nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, int, void*) noexcept)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        nghttp2_session_callbacks*,
        int (*)(nghttp2_session*, uint8_t, int32_t, const uint8_t*, size_t, void*) noexcept)
    void nghttp2_session_callbacks_set_on_stream_close_callback(
        nghttp2_session_callbacks*, int (*)(nghttp2_session*, int32_t, uint32_t, void*) noexcept)
    void nghttp2_session_callbacks_set_on_frame_send_callback(
        nghttp2_session_callbacks*, int (*)(nghttp2_session*, const nghttp2_frame*, void*) noexcept)
    void nghttp2_session_callbacks_set_send_data_callback(
        nghttp2_session_callbacks*,
        int (*)(nghttp2_session*, nghttp2_frame*, const uint8_t*, size_t, nghttp2_data_source*, void*) noexcept)
    int nghttp2_option_new(nghttp2_option**)
    void nghttp2_option_del(nghttp2_option*)
    void nghttp2_option_set_no_auto_window_update(nghttp2_option*, int)
    void nghttp2_option_set_no_closed_streams(nghttp2_option*, int)
    void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option*, uint32_t)
    void nghttp2_option_set_max_send_header_block_length(nghttp2_option*, size_t)
    void nghttp2_option_set_max_deflate_dynamic_table_size(nghttp2_option*, size_t)
    void nghttp2_option_set_max_outbound_ack(nghttp2_option*, size_t)
    void nghttp2_option_set_stream_reset_rate_limit(nghttp2_option*, uint64_t, uint64_t)
    int nghttp2_session_server_new2(nghttp2_session**, const nghttp2_session_callbacks*, void*, const nghttp2_option*)
    int nghttp2_session_client_new2(nghttp2_session**, const nghttp2_session_callbacks*, void*, const nghttp2_option*)
    void nghttp2_session_del(nghttp2_session*)
    ssize_t nghttp2_session_mem_recv(nghttp2_session*, const uint8_t*, size_t)
    ssize_t nghttp2_session_mem_send(nghttp2_session*, const uint8_t**)
    int nghttp2_session_want_read(nghttp2_session*)
    int nghttp2_session_want_write(nghttp2_session*)
    int nghttp2_session_resume_data(nghttp2_session*, int32_t)
    int nghttp2_session_consume(nghttp2_session*, int32_t, size_t)
    int nghttp2_session_consume_connection(nghttp2_session*, size_t)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session*, int)
    int32_t nghttp2_session_get_last_proc_stream_id(nghttp2_session*)
    int32_t nghttp2_session_get_remote_window_size(nghttp2_session*)
    int nghttp2_session_set_local_window_size(nghttp2_session*, uint8_t, int32_t, int32_t)
    int nghttp2_submit_settings(nghttp2_session*, uint8_t, const nghttp2_settings_entry*, size_t)
    int nghttp2_submit_response(nghttp2_session*, int32_t, const nghttp2_nv*, size_t, const nghttp2_data_provider*)
    int32_t nghttp2_submit_request(nghttp2_session*, const void*, const nghttp2_nv*, size_t,
                                   const nghttp2_data_provider*, void*)
    int32_t nghttp2_submit_headers(nghttp2_session*, uint8_t, int32_t, const void*, const nghttp2_nv*, size_t, void*)
    int nghttp2_submit_trailer(nghttp2_session*, int32_t, const nghttp2_nv*, size_t)
    int nghttp2_submit_rst_stream(nghttp2_session*, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_shutdown_notice(nghttp2_session*)
    int nghttp2_submit_goaway(nghttp2_session*, uint8_t, int32_t, uint32_t, const uint8_t*, size_t)
    int nghttp2_submit_ping(nghttp2_session*, uint8_t, const uint8_t*)
    const char* nghttp2_strerror(int)

DEF TABLE_SIZE = 1024
DEF CACHE_SIZE = 1024
DEF NAME_LIMIT = 64
DEF FRAME_HEAD = 9
DEF MAX_PIECES = 64
DEF ACK_LIMIT = 1 << 20
DEF MAX_BLOCK = 0x2000000
DEF NO_LIMIT = 0x7fffffff

cdef enum:
    SPECIAL_NONE = 0
    SPECIAL_COOKIE = 1
    SPECIAL_HOST = 2

    KIND_LIBRARY = 1
    KIND_EMPTY_FRAMES = 2
    KIND_PRIORITY_FRAMES = 3
    KIND_WINDOW_UPDATES = 4
    KIND_INVALID_FRAME = 5
    KIND_BAD_PREFACE = 6
    KIND_FLOOD = 7

    UNDERSCORE_ALLOW = 0
    UNDERSCORE_REJECT = 1
    UNDERSCORE_DROP = 2

cdef struct Slot:
    PyObject* name
    uint32_t hash
    uint8_t joined      # bit 0 in requests, bit 1 in responses
    uint8_t special

cdef struct Piece:
    const uint8_t* start
    size_t length

# Known names: open addressing, never changed by traffic. Names seen lately: one place each, the newest wins.
cdef Slot _table[TABLE_SIZE]
cdef Slot _cache[CACHE_SIZE]
cdef dict _interned = {}
cdef bytes _COMMA = b","
cdef bytes _CRUMBS = b"; "
cdef bytes _EMPTY = b""
cdef list _STATUS = [str(code).encode() for code in range(1000)]
# Fields that concern one HTTP/1 hop and must not be sent (RFC 9113 section 8.2.2).
cdef frozenset _HOP = frozenset(
    [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host"]
)


cdef inline uint32_t _hash_name(const unsigned char* text, Py_ssize_t length) noexcept:
    cdef uint32_t h = 2166136261u ^ <uint32_t>length
    cdef Py_ssize_t i
    for i in range(length):
        h = (h ^ text[i]) * 16777619u
    return h ^ (h >> 15)


cdef _intern(bytes name):
    cdef Py_ssize_t length = PyBytes_GET_SIZE(name)
    cdef uint32_t h = _hash_name(<const unsigned char*>PyBytes_AS_STRING(name), length)
    cdef uint32_t place = h % TABLE_SIZE
    cdef Slot* slot
    while True:
        slot = &_table[place]
        if slot.name == NULL:
            break
        if slot.hash == h and <bytes>slot.name == name:
            return
        place = (place + 1) % TABLE_SIZE
    hash(name)
    _interned[name] = name
    Py_INCREF(name)
    slot.name = <PyObject*>name
    slot.hash = h
    slot.joined = (1 if name in REQUEST_JOINED else 0) | (2 if name in RESPONSE_JOINED else 0)
    slot.special = SPECIAL_COOKIE if name == b"cookie" else (SPECIAL_HOST if name == b"host" else SPECIAL_NONE)


cdef _init_tables():
    memset(_table, 0, sizeof(_table))
    memset(_cache, 0, sizeof(_cache))
    for name in KNOWN_NAMES:
        _intern(name)


_init_tables()


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


cdef class Http2Session:
    cdef nghttp2_session* session
    cdef object handler
    cdef bint server
    cdef dict outs
    cdef object failure          # exception raised by the handler
    cdef int fail_kind
    cdef int32_t fail_stream
    cdef bint feeding
    cdef bint lost               # a call into the library has failed: the session is of no more use
    # the header block that is being received
    cdef dict single
    cdef dict multi
    cdef bytes method, path, authority, scheme, protocol, host
    cdef int status
    cdef Py_ssize_t list_size
    cdef Py_ssize_t count
    cdef Py_ssize_t block_wire
    cdef bint overflow
    cdef bint underscore_seen
    # body bytes of the current feed that wait to be handed on
    cdef Piece pieces[MAX_PIECES]
    cdef int piece_count
    cdef int frame_piece         # where those of the current frame begin
    cdef int32_t data_stream
    cdef Py_ssize_t data_frames
    # bytes to be sent
    cdef uint8_t* out
    cdef Py_ssize_t out_size
    cdef Py_ssize_t out_capacity
    cdef list lows
    # limits
    cdef Py_ssize_t max_list
    cdef Py_ssize_t max_count
    cdef Py_ssize_t high_limit
    cdef int underscores
    cdef uint64_t max_empty
    cdef uint64_t max_priority
    cdef uint64_t max_window
    cdef uint64_t empty_frames
    cdef uint64_t priority_frames
    cdef uint64_t window_frames
    cdef readonly uint64_t opened_streams
    cdef readonly uint64_t data_frames_sent
    # Frames handed out by `drain` so far, and those of them that are PING, SETTINGS or RST_STREAM.
    cdef readonly uint64_t frames_sent
    cdef readonly uint64_t control_frames_sent
    cdef readonly uint64_t goaways_sent
    cdef readonly uint64_t resets_sent
    # Fields left out because of an underscore.
    cdef readonly uint64_t dropped

    def __cinit__(
        self, handler, bint server, *, Py_ssize_t max_header_list=61440, Py_ssize_t max_headers=100, int underscores=0,
        Py_ssize_t send_limit=0, Py_ssize_t hpack_table_size=4096, uint64_t max_empty_frames=1,
        uint64_t max_priority_frames=100, uint64_t max_window_updates=10, uint64_t reset_burst=0,
        uint64_t reset_rate=0,
    ):
        cdef nghttp2_session_callbacks* cb
        cdef nghttp2_option* option
        cdef int rv
        self.handler = handler
        self.server = server
        self.outs = {}
        self.lows = []
        self.max_list = max_header_list
        self.max_count = max_headers
        self.underscores = underscores
        self.high_limit = send_limit
        self.max_empty = max_empty_frames
        self.max_priority = max_priority_frames
        self.max_window = max_window_updates
        self.out = NULL
        self.session = NULL
        if nghttp2_session_callbacks_new(&cb) != 0:
            raise MemoryError
        nghttp2_session_callbacks_set_on_begin_frame_callback(cb, _on_begin_frame)
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, _on_begin_headers)
        nghttp2_session_callbacks_set_on_header_callback(cb, _on_header)
        nghttp2_session_callbacks_set_on_invalid_header_callback(cb, _on_invalid_header)
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, _on_frame_recv)
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, _on_invalid_frame)
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, _on_data_chunk)
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, _on_stream_close)
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, _on_frame_send)
        nghttp2_session_callbacks_set_send_data_callback(cb, _on_send_data)
        if nghttp2_option_new(&option) != 0:
            nghttp2_session_callbacks_del(cb)
            raise MemoryError
        nghttp2_option_set_no_auto_window_update(option, 1)
        nghttp2_option_set_no_closed_streams(option, 1)
        nghttp2_option_set_max_send_header_block_length(option, MAX_BLOCK)
        # Counted by the codec, together with all other frames.
        nghttp2_option_set_max_outbound_ack(option, ACK_LIMIT)
        if hpack_table_size != 4096:
            nghttp2_option_set_max_deflate_dynamic_table_size(option, hpack_table_size)
        if reset_burst or reset_rate:
            nghttp2_option_set_stream_reset_rate_limit(option, reset_burst, reset_rate)
        if server:
            rv = nghttp2_session_server_new2(&self.session, cb, <void*>self, option)
        else:
            # Streams may be opened before the peer's SETTINGS are here.
            nghttp2_option_set_peer_max_concurrent_streams(option, NO_LIMIT)
            rv = nghttp2_session_client_new2(&self.session, cb, <void*>self, option)
        nghttp2_option_del(option)
        nghttp2_session_callbacks_del(cb)
        if rv != 0:
            self.session = NULL
            raise MemoryError

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2_session_del(self.session)
        free(self.out)

    # --- set-up ---

    def submit_settings(self, list entries not None):
        cdef nghttp2_settings_entry items[32]
        cdef int n = 0
        for setting, value in entries:
            if n == 32:
                raise ValueError("too many settings")
            items[n].settings_id = setting
            items[n].value = value
            n += 1
        self._check(nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, items, n))

    def set_connection_window(self, int size):
        self._check(nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, size))

    # --- bytes in ---

    def feed(self, bytes data not None):
        cdef ssize_t n
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if self.feeding:
            raise RuntimeError("fed from within a callback")
        if self.lost:
            return
        self.feeding = True
        try:
            n = nghttp2_session_mem_recv(self.session, <const uint8_t*>PyBytes_AS_STRING(data), length)
            if n >= 0:
                try:
                    self._flush_data(False)
                except BaseException:
                    self.lost = True
                    raise
        finally:
            self.feeding = False
        if n < 0:
            self._failed(<int>n)

    cdef _failed(self, int code):
        cdef object failure = self.failure
        cdef int kind = self.fail_kind
        self.piece_count = 0
        self.lost = True
        if failure is not None:
            self.failure = None
            raise failure
        if code == NGHTTP2_ERR_BAD_CLIENT_MAGIC:
            raise Http2Error(KIND_BAD_PREFACE, "Received bad client magic byte string")
        if code == NGHTTP2_ERR_FLOODED:
            raise Http2Error(KIND_FLOOD, "Flooding was detected in this HTTP/2 session, and it must be closed")
        if kind == KIND_EMPTY_FRAMES:
            raise Http2Error(kind, "Too many consecutive frames with an empty payload", self.fail_stream)
        if kind == KIND_PRIORITY_FRAMES:
            raise Http2Error(kind, "Too many PRIORITY frames")
        if kind == KIND_WINDOW_UPDATES:
            raise Http2Error(kind, "Too many WINDOW_UPDATE frames")
        raise Http2Error(kind if kind else KIND_LIBRARY, nghttp2_strerror(code).decode("latin-1"))

    cdef _flush_data(self, bint end):
        cdef int32_t stream_id = self.data_stream
        cdef Py_ssize_t frames = self.data_frames
        cdef Py_ssize_t total = 0
        cdef int i
        cdef int n = self.piece_count
        cdef bytes data
        cdef char* to
        if n == 0 and frames == 0 and not end:
            return
        self.piece_count = 0
        self.frame_piece = 0
        self.data_frames = 0
        if n == 0:
            data = _EMPTY
        elif n == 1:
            data = PyBytes_FromStringAndSize(<const char*>self.pieces[0].start, self.pieces[0].length)
        else:
            for i in range(n):
                total += self.pieces[i].length
            data = PyBytes_FromStringAndSize(NULL, total)
            to = PyBytes_AS_STRING(data)
            for i in range(n):
                memcpy(to, self.pieces[i].start, self.pieces[i].length)
                to += self.pieces[i].length
        self.handler.on_data(stream_id, data, end, PyBytes_GET_SIZE(data) + frames * FRAME_HEAD)

    cdef _drop_frame(self):
        """Forget the pieces of the current frame, giving their window back."""
        cdef Py_ssize_t size = 0
        cdef int i
        for i in range(self.frame_piece, self.piece_count):
            size += self.pieces[i].length
        if size:
            self.piece_count = self.frame_piece
            nghttp2_session_consume(self.session, self.data_stream, size)

    cdef int _header(self, const uint8_t* name, size_t name_length, const uint8_t* text, size_t length) except -1:
        cdef Slot* slot
        cdef uint32_t h
        cdef uint32_t place
        cdef int joined = 0
        cdef int special = SPECIAL_NONE
        cdef Py_ssize_t grown
        cdef size_t i
        cdef bytes key
        cdef bytes value
        self.list_size += name_length + length
        self.count += 1
        if self.list_size > self.max_list or self.count > self.max_count:
            if not self.overflow:
                self.overflow = True
                self.handler.on_header_overflow(self.count > self.max_count)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        value = PyBytes_FromStringAndSize(<const char*>text, length)
        if name[0] == 58:  # ':'
            if name_length == 5:
                self.path = value
            elif name_length == 7:
                if name[1] == 109:  # 'm'
                    self.method = value
                elif self.server:
                    self.scheme = value
                else:
                    self.status = (text[0] - 48) * 100 + (text[1] - 48) * 10 + (text[2] - 48)
            elif name_length == 10:
                self.authority = value
            elif name_length == 9:
                self.protocol = value
            return 0
        if self.underscores:
            for i in range(name_length):
                if name[i] == 95:
                    self.dropped += 1
                    if self.underscores == UNDERSCORE_DROP:
                        return 0
                    self.underscore_seen = True
                    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        if name_length <= NAME_LIMIT:
            h = _hash_name(name, name_length)
            place = h % TABLE_SIZE
            while True:
                slot = &_table[place]
                if slot.name == NULL:
                    slot = &_cache[h % CACHE_SIZE]
                    if (slot.name != NULL and slot.hash == h
                            and PyBytes_GET_SIZE(<object>slot.name) == <Py_ssize_t>name_length
                            and memcmp(PyBytes_AS_STRING(<object>slot.name), name, name_length) == 0):
                        key = <bytes>slot.name
                    else:
                        key = PyBytes_FromStringAndSize(<const char*>name, name_length)
                        hash(key)
                        Py_XDECREF(slot.name)
                        Py_INCREF(key)
                        slot.name = <PyObject*>key
                        slot.hash = h
                    break
                if (slot.hash == h and PyBytes_GET_SIZE(<object>slot.name) == <Py_ssize_t>name_length
                        and memcmp(PyBytes_AS_STRING(<object>slot.name), name, name_length) == 0):
                    key = <bytes>slot.name
                    joined = slot.joined
                    special = slot.special
                    break
                place = (place + 1) % TABLE_SIZE
        else:
            key = PyBytes_FromStringAndSize(<const char*>name, name_length)
        if special == SPECIAL_HOST and self.server:
            # RFC 9113 section 8.3.1: `:authority` wins.
            if self.host is None:
                self.host = value
            return 0
        grown = PyDict_Size(self.single)
        PyDict_SetDefault(<PyObject*>self.single, <PyObject*>key, <PyObject*>value)
        if PyDict_Size(self.single) == grown:
            if special == SPECIAL_COOKIE and self.server:
                # RFC 9113 section 8.2.3: the crumbs of a cookie are one field.
                self.single[key] = <bytes>self.single[key] + _CRUMBS + value
            elif joined & (1 if self.server else 2):
                self.single[key] = <bytes>self.single[key] + _COMMA + value
            else:
                if self.multi is None:
                    self.multi = {}
                if key in self.multi:
                    (<list>self.multi[key]).append(value)
                else:
                    self.multi[key] = [self.single[key], value]
        return 0

    cdef _header_block(self, int32_t stream_id, bint end):
        cdef dict single = self.single
        cdef dict multi = self.multi
        cdef Py_ssize_t wire = self.block_wire
        cdef bytes authority
        self.single = None
        self.multi = None
        if self.server:
            if self.method is not None:
                authority = self.authority
                if authority is None:
                    authority = self.host if self.host is not None else _EMPTY
                self.handler.on_request_headers(
                    stream_id, self.method, _EMPTY if self.path is None else self.path, authority,
                    _EMPTY if self.scheme is None else self.scheme, _EMPTY if self.protocol is None else self.protocol,
                    single, multi, end, wire,
                )
                return
        elif self.status:
            self.handler.on_response_headers(stream_id, self.status, single, multi, end, wire)
            return
        self.handler.on_trailers(stream_id, single, multi, wire)

    # --- bytes out ---

    cdef int _reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t need = self.out_size + more
        cdef Py_ssize_t capacity = self.out_capacity
        cdef uint8_t* grown
        if need <= capacity:
            return 0
        if capacity < 4096:
            capacity = 4096
        while capacity < need:
            capacity *= 2
        grown = <uint8_t*>realloc(self.out, capacity)
        if grown == NULL:
            raise MemoryError
        self.out = grown
        self.out_capacity = capacity
        return 0

    def drain(self):
        cdef const uint8_t* data = NULL
        cdef ssize_t n
        cdef bytes whole
        if self.feeding or self.lost and self.out_size == 0 and nghttp2_session_want_write(self.session) == 0:
            return _EMPTY
        while True:
            n = nghttp2_session_mem_send(self.session, &data)
            if n == 0:
                break
            if n < 0:
                self.out_size = 0
                self._failed(<int>n)
            self._reserve(n)
            memcpy(self.out + self.out_size, data, n)
            self.out_size += n
        if self.out_size == 0:
            return _EMPTY
        whole = PyBytes_FromStringAndSize(<char*>self.out, self.out_size)
        self.out_size = 0
        if self.out_capacity > 262144:
            # Not kept for a whole connection's life.
            free(self.out)
            self.out = NULL
            self.out_capacity = 0
        return whole

    def take_lows(self):
        """Ids of streams whose unsent bytes have fallen below half of the limit since the last call."""
        cdef list lows = self.lows
        if lows:
            self.lows = []
        return lows

    cdef nghttp2_nv* _pairs(self, list pseudo, dict single, dict multi, size_t* count) except NULL:
        """Name-value pairs that point into the given objects, which must stay alive until they are submitted."""
        cdef size_t most = len(pseudo) // 2 + 1
        cdef size_t n = 0
        cdef Py_ssize_t i
        cdef nghttp2_nv* nva
        cdef bytes name
        cdef list values
        most += PyDict_Size(single)
        if multi is not None:
            for values in multi.values():
                most += len(values)
        nva = <nghttp2_nv*>malloc(most * sizeof(nghttp2_nv))
        if nva == NULL:
            raise MemoryError
        for i in range(0, len(pseudo), 2):
            _pair(&nva[n], <bytes>pseudo[i], <bytes>pseudo[i + 1])
            n += 1
        for name, value in single.items():
            if name in _HOP:
                continue
            if multi is not None and name in multi:
                for each in <list>multi[name]:
                    _pair(&nva[n], name, <bytes>each)
                    n += 1
            else:
                _pair(&nva[n], name, <bytes>value)
                n += 1
        count[0] = n
        return nva

    def submit_request(
        self, bytes method not None, bytes scheme not None, bytes authority not None, bytes path not None,
        bytes protocol not None, dict single not None, dict multi, bint end_stream,
    ):
        """Open a stream; returns its id and its sending half. Raises Http2Error when no id is left."""
        cdef list pseudo = [b":method", method]
        cdef nghttp2_nv* nva
        cdef size_t count
        cdef nghttp2_data_provider provider
        cdef OutStream out = OutStream()
        cdef int32_t stream_id
        if scheme:
            pseudo += [b":scheme", scheme]
        if authority:
            pseudo += [b":authority", authority]
        if path:
            pseudo += [b":path", path]
        if protocol:
            pseudo += [b":protocol", protocol]
        nva = self._pairs(pseudo, single, multi, &count)
        provider.source.ptr = <void*>out
        provider.read_callback = _read
        stream_id = nghttp2_submit_request(self.session, NULL, nva, count, NULL if end_stream else &provider, NULL)
        free(nva)
        if stream_id < 0:
            raise Http2Error(KIND_LIBRARY, nghttp2_strerror(stream_id).decode("latin-1"))
        self.opened_streams += 1
        out.ended = end_stream
        self.outs[stream_id] = out
        return stream_id, out

    def submit_response(self, int32_t stream_id, int status, dict single not None, dict multi, bint end_stream):
        """The final header block of a response; returns the stream's sending half."""
        cdef nghttp2_nv* nva
        cdef size_t count
        cdef nghttp2_data_provider provider
        cdef OutStream out = self._out(stream_id)
        nva = self._pairs([b":status", _STATUS[status]], single, multi, &count)
        provider.source.ptr = <void*>out
        provider.read_callback = _read
        nghttp2_submit_response(self.session, stream_id, nva, count, NULL if end_stream else &provider)
        free(nva)
        out.ended = end_stream
        return out

    def submit_informational(self, int32_t stream_id, int status, dict single not None, dict multi):
        cdef nghttp2_nv* nva
        cdef size_t count
        self._out(stream_id)
        nva = self._pairs([b":status", _STATUS[status]], single, multi, &count)
        nghttp2_submit_headers(self.session, NGHTTP2_FLAG_NONE, stream_id, NULL, nva, count, NULL)
        free(nva)

    cdef OutStream _out(self, int32_t stream_id):
        cdef OutStream out = self.outs.get(stream_id)
        if out is None:
            out = OutStream()
            self.outs[stream_id] = out
        return out

    def send_data(self, int32_t stream_id, bytes data not None, bint end_stream):
        """Queue body bytes. True: the stream has just exceeded its limit of unsent bytes."""
        cdef OutStream out = self.outs.get(stream_id)
        if out is None or out.ended:
            return False
        if PyBytes_GET_SIZE(data):
            out.chunks.append(data)
            out.pending += PyBytes_GET_SIZE(data)
        out.ended = end_stream
        if out.deferred:
            out.deferred = False
            nghttp2_session_resume_data(self.session, stream_id)
        if self.high_limit and not out.high and out.pending > self.high_limit:
            out.high = True
            return True
        return False

    def send_trailers(self, int32_t stream_id, dict single not None, dict multi):
        cdef OutStream out = self.outs.get(stream_id)
        if out is None or out.ended:
            return
        out.ended = True
        if single:
            out.trailers = single
            out.trailers_multi = multi
            out.has_trailers = True
        if out.deferred:
            out.deferred = False
            nghttp2_session_resume_data(self.session, stream_id)

    cdef int _submit_trailers(self, int32_t stream_id, OutStream out) except -1:
        cdef size_t count
        cdef nghttp2_nv* nva = self._pairs([], out.trailers, out.trailers_multi, &count)
        nghttp2_submit_trailer(self.session, stream_id, nva, count)
        free(nva)
        return 0

    def reset(self, int32_t stream_id, uint32_t code):
        nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream_id, code)

    def shutdown_notice(self):
        nghttp2_submit_shutdown_notice(self.session)

    def goaway(self, uint32_t code):
        nghttp2_submit_goaway(
            self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session), code, NULL, 0
        )

    def ping(self, bytes data not None):
        if PyBytes_GET_SIZE(data) != 8:
            raise ValueError("a PING carries 8 bytes")
        nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, <const uint8_t*>PyBytes_AS_STRING(data))

    # --- flow control ---

    def consume(self, int32_t stream_id, Py_ssize_t size):
        """Give the peer `size` bytes of window back, for the stream (if it is still there) and the connection."""
        if not self.lost:
            nghttp2_session_consume(self.session, stream_id, size)

    @property
    def wants_read(self):
        return not self.lost and nghttp2_session_want_read(self.session) != 0

    @property
    def wants_write(self):
        return nghttp2_session_want_write(self.session) != 0

    @property
    def peer_max_concurrent_streams(self):
        return nghttp2_session_get_remote_settings(self.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)

    @property
    def peer_allows_connect(self):
        return nghttp2_session_get_remote_settings(self.session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1

    @property
    def unsent(self):
        """Whether bodies or trailers wait for the peer's window."""
        cdef OutStream out
        for out in self.outs.values():
            if out.pending or out.has_trailers:
                return True
        return False

    cdef _check(self, int rv):
        if rv != 0:
            raise Http2Error(KIND_LIBRARY, nghttp2_strerror(rv).decode("latin-1"))


cdef inline void _pair(nghttp2_nv* nv, bytes name, bytes value) noexcept:
    nv.name = <uint8_t*>PyBytes_AS_STRING(name)
    nv.namelen = PyBytes_GET_SIZE(name)
    nv.value = <uint8_t*>PyBytes_AS_STRING(value)
    nv.valuelen = PyBytes_GET_SIZE(value)
    nv.flags = 0


# --- nghttp2's callbacks; an exception is kept for `feed` and stops the session ---

cdef int _fail(Http2Session s, int kind) noexcept:
    if s.fail_kind == 0:
        s.fail_kind = kind
    return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int _on_begin_frame(nghttp2_session* session, const nghttp2_frame_hd* hd, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    cdef int kind = hd.type
    if kind == NGHTTP2_DATA or kind == NGHTTP2_HEADERS or kind == NGHTTP2_CONTINUATION:
        if kind == NGHTTP2_HEADERS:
            s.block_wire = hd.length + FRAME_HEAD
        elif kind == NGHTTP2_CONTINUATION:
            s.block_wire += hd.length
        if hd.length == 0 and not hd.flags & NGHTTP2_FLAG_END_STREAM:
            s.empty_frames += 1
            if s.empty_frames > s.max_empty:
                s.fail_stream = hd.stream_id
                return _fail(s, KIND_EMPTY_FRAMES)
        else:
            s.empty_frames = 0
        if kind == NGHTTP2_DATA and s.data_stream == hd.stream_id:
            # May be joined with what came before.
            s.frame_piece = s.piece_count
            return 0
    elif kind == NGHTTP2_PRIORITY:
        s.priority_frames += 1
        if s.priority_frames > s.max_priority * (1 + s.opened_streams):
            return _fail(s, KIND_PRIORITY_FRAMES)
    elif kind == NGHTTP2_WINDOW_UPDATE:
        s.window_frames += 1
        if s.window_frames > 5 + 2 * (s.opened_streams + s.max_window * s.data_frames_sent):
            return _fail(s, KIND_WINDOW_UPDATES)
        return 0
    if s.piece_count or s.data_frames:
        try:
            s._flush_data(False)
        except BaseException as error:
            s.failure = error
            return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int _on_begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    s.single = {}
    s.multi = None
    s.method = s.path = s.authority = s.scheme = s.protocol = s.host = None
    s.status = 0
    s.list_size = 0
    s.count = 0
    s.overflow = False
    s.underscore_seen = False
    if s.server and frame.headers.cat == NGHTTP2_HCAT_REQUEST:
        s.opened_streams += 1
        try:
            s.handler.on_stream_opened(frame.hd.stream_id)
        except BaseException as error:
            s.failure = error
            return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int _on_header(
    nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
    const uint8_t* value, size_t length, uint8_t flags, void* user,
) noexcept:
    cdef Http2Session s = <Http2Session>user
    cdef int rv
    if s.single is None:
        return 0
    try:
        rv = s._header(name, name_length, value, length)
        if rv and s.underscore_seen:
            s.handler.on_underscore(frame.hd.stream_id)
        return rv
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int _on_invalid_header(
    nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
    const uint8_t* value, size_t length, uint8_t flags, void* user,
) noexcept:
    # The default is to leave the field out; Envoy refuses the message.
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE


cdef int _on_data_chunk(
    nghttp2_session* session, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t length, void* user
) noexcept:
    cdef Http2Session s = <Http2Session>user
    try:
        if stream_id != s.data_stream or s.piece_count == MAX_PIECES:
            s._flush_data(False)
            s.data_stream = stream_id
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    s.pieces[s.piece_count].start = data
    s.pieces[s.piece_count].length = length
    s.piece_count += 1
    return 0


cdef int _on_frame_recv(nghttp2_session* session, const nghttp2_frame* frame, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    cdef int kind = frame.hd.type
    cdef bint end = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
    try:
        if kind == NGHTTP2_DATA:
            if s.data_stream != frame.hd.stream_id:
                s._flush_data(False)
                s.data_stream = frame.hd.stream_id
            s.data_frames += 1
            if end:
                s._flush_data(True)
        elif kind == NGHTTP2_HEADERS:
            if s.single is not None:
                s._header_block(frame.hd.stream_id, end)
        elif kind == NGHTTP2_RST_STREAM:
            s.handler.on_reset(frame.hd.stream_id, frame.rst_stream.error_code)
        elif kind == NGHTTP2_GOAWAY:
            s.handler.on_goaway(frame.goaway.last_stream_id, frame.goaway.error_code)
        elif kind == NGHTTP2_SETTINGS:
            if not frame.hd.flags & NGHTTP2_FLAG_ACK:
                s.handler.on_settings()
        elif kind == NGHTTP2_PING:
            if frame.hd.flags & NGHTTP2_FLAG_ACK:
                s.handler.on_ping_ack(PyBytes_FromStringAndSize(<const char*>frame.ping.opaque_data, 8))
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int _on_invalid_frame(nghttp2_session* session, const nghttp2_frame* frame, int code, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    s.single = None
    try:
        if frame.hd.type == NGHTTP2_DATA and s.data_stream == frame.hd.stream_id:
            # A frame that breaks the message is not part of it.
            s._drop_frame()
        s._flush_data(False)
        if s.handler.on_invalid_frame(frame.hd.stream_id, code):
            return 0
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return _fail(s, KIND_INVALID_FRAME)


cdef int _on_stream_close(nghttp2_session* session, int32_t stream_id, uint32_t code, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    try:
        if s.data_stream == stream_id:
            if code:
                s._drop_frame()
            s._flush_data(False)
            s.data_stream = 0
        s.outs.pop(stream_id, None)
        s.handler.on_stream_closed(stream_id, code)
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int _on_frame_send(nghttp2_session* session, const nghttp2_frame* frame, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    cdef int kind = frame.hd.type
    cdef OutStream out
    s.frames_sent += 1
    if kind == NGHTTP2_DATA or kind == NGHTTP2_HEADERS:
        if kind == NGHTTP2_DATA:
            s.data_frames_sent += 1
        try:
            out = s.outs.get(frame.hd.stream_id)
        except BaseException as error:
            s.failure = error
            return NGHTTP2_ERR_CALLBACK_FAILURE
        if out is not None:
            out.wire_bytes += frame.hd.length + FRAME_HEAD
            if kind == NGHTTP2_HEADERS:
                out.header_bytes += frame.hd.length + FRAME_HEAD
    elif kind == NGHTTP2_PING or kind == NGHTTP2_SETTINGS:
        s.control_frames_sent += 1
    elif kind == NGHTTP2_RST_STREAM:
        s.control_frames_sent += 1
        s.resets_sent += 1
    elif kind == NGHTTP2_GOAWAY:
        s.goaways_sent += 1
    return 0


cdef ssize_t _read(
    nghttp2_session* session, int32_t stream_id, uint8_t* buf, size_t length, uint32_t* flags,
    nghttp2_data_source* source, void* user,
) noexcept:
    """nghttp2 asks how much there is to send; `_on_send_data` copies it."""
    cdef Http2Session s = <Http2Session>user
    cdef OutStream out = <OutStream>source.ptr
    cdef Py_ssize_t n = out.pending
    if n == 0 and not out.ended:
        out.deferred = True
        return NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if n > <Py_ssize_t>length:
        return length
    if out.ended:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
        if out.has_trailers:
            out.has_trailers = False
            flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
            try:
                s._submit_trailers(stream_id, out)
            except BaseException as error:
                s.failure = error
                return NGHTTP2_ERR_CALLBACK_FAILURE
    return n


cdef int _on_send_data(
    nghttp2_session* session, nghttp2_frame* frame, const uint8_t* head, size_t length, nghttp2_data_source* source,
    void* user,
) noexcept:
    cdef Http2Session s = <Http2Session>user
    cdef OutStream out = <OutStream>source.ptr
    try:
        s._reserve(FRAME_HEAD + length)
        memcpy(s.out + s.out_size, head, FRAME_HEAD)
        out.take(s.out + s.out_size + FRAME_HEAD, length)
        s.out_size += FRAME_HEAD + length
        if out.high and out.pending <= s.high_limit // 2:
            out.high = False
            s.lows.append(frame.hd.stream_id)
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0
