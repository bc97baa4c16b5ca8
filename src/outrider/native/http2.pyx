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

include "http2_library.pxi"

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

cdef struct Piece:
    const uint8_t* start
    size_t length


include "http2_names.pxi"
include "http2_out.pxi"


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
    # Body bytes of all streams that wait for the peer's windows or for `drain`.
    cdef readonly Py_ssize_t pending_bytes

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
        nva = _pairs(pseudo, single, multi, &count)
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
        nva = _pairs([b":status", _STATUS[status]], single, multi, &count)
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
        nva = _pairs([b":status", _STATUS[status]], single, multi, &count)
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
            self.pending_bytes += PyBytes_GET_SIZE(data)
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
        cdef nghttp2_nv* nva = _pairs([], out.trailers, out.trailers_multi, &count)
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


include "http2_send.pxi"
include "http2_receive.pxi"
