# What comes in: fields, frames, the ends of streams. An exception is kept for `feed` and stops the session.

cdef int _take_field(
    Http2Session s, const uint8_t* name, size_t name_length, const uint8_t* text, size_t length
) except -1:
    """One field of the block that is being received. NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE: the stream is refused."""
    cdef Slot* slot
    cdef uint32_t h
    cdef uint32_t place
    cdef int joined = 0
    cdef int special = SPECIAL_NONE
    cdef Py_ssize_t grown
    cdef size_t i
    cdef bytes key
    cdef bytes value
    s.list_size += name_length + length
    s.count += 1
    if s.list_size > s.max_list or s.count > s.max_count:
        if not s.overflow:
            s.overflow = True
            s.handler.on_header_overflow(s.count > s.max_count)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    value = PyBytes_FromStringAndSize(<const char*>text, length)
    if name[0] == 58:  # ':'
        if name_length == 5:
            s.path = value
        elif name_length == 7:
            if name[1] == 109:  # 'm'
                s.method = value
            elif s.server:
                s.scheme = value
            else:
                s.status = (text[0] - 48) * 100 + (text[1] - 48) * 10 + (text[2] - 48)
        elif name_length == 10:
            s.authority = value
        elif name_length == 9:
            s.protocol = value
        return 0
    if s.underscores:
        for i in range(name_length):
            if name[i] == 95:
                s.dropped += 1
                if s.underscores == UNDERSCORE_DROP:
                    return 0
                s.underscore_seen = True
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
    if special == SPECIAL_HOST and s.server:
        # RFC 9113 section 8.3.1: `:authority` wins.
        if s.host is None:
            s.host = value
        return 0
    grown = PyDict_Size(s.single)
    PyDict_SetDefault(<PyObject*>s.single, <PyObject*>key, <PyObject*>value)
    if PyDict_Size(s.single) == grown:
        if special == SPECIAL_COOKIE and s.server:
            # RFC 9113 section 8.2.3: the crumbs of a cookie are one field.
            s.single[key] = <bytes>s.single[key] + _CRUMBS + value
        elif joined & (1 if s.server else 2):
            s.single[key] = <bytes>s.single[key] + _COMMA + value
        else:
            if s.multi is None:
                s.multi = {}
            if key in s.multi:
                (<list>s.multi[key]).append(value)
            else:
                s.multi[key] = [s.single[key], value]
    return 0


cdef _take_block(Http2Session s, int32_t stream_id, bint end):
    """The block is complete: hand it over."""
    cdef dict single = s.single
    cdef dict multi = s.multi
    cdef Py_ssize_t wire = s.block_wire
    cdef bytes authority
    s.single = None
    s.multi = None
    if s.server:
        if s.method is not None:
            authority = s.authority
            if authority is None:
                authority = s.host if s.host is not None else _EMPTY
            s.handler.on_request_headers(
                stream_id, s.method, _EMPTY if s.path is None else s.path, authority,
                _EMPTY if s.scheme is None else s.scheme, _EMPTY if s.protocol is None else s.protocol,
                single, multi, end, wire,
            )
            return
    elif s.status:
        s.handler.on_response_headers(stream_id, s.status, single, multi, end, wire)
        return
    s.handler.on_trailers(stream_id, single, multi, wire)


cdef int _fail(Http2Session s, int kind) noexcept:
    if s.fail_kind == 0:
        s.fail_kind = kind
    return NGHTTP2_ERR_CALLBACK_FAILURE


cdef bint _count_empty(Http2Session s, const nghttp2_frame_hd* hd, bint empty) noexcept:
    """Whether there are too many frames in a row that carry nothing."""
    if not empty or hd.flags & NGHTTP2_FLAG_END_STREAM:
        s.empty_frames = 0
        return False
    s.empty_frames += 1
    if s.empty_frames <= s.max_empty:
        return False
    s.fail_stream = hd.stream_id
    _fail(s, KIND_EMPTY_FRAMES)
    return True


cdef int _on_begin_frame(nghttp2_session* session, const nghttp2_frame_hd* hd, void* user) noexcept:
    cdef Http2Session s = <Http2Session>user
    cdef int kind = hd.type
    if kind == NGHTTP2_DATA or kind == NGHTTP2_HEADERS or kind == NGHTTP2_CONTINUATION:
        if kind == NGHTTP2_HEADERS:
            s.block_wire = hd.length + FRAME_HEAD
        elif kind == NGHTTP2_CONTINUATION:
            s.block_wire += hd.length
        if kind == NGHTTP2_DATA and hd.flags & NGHTTP2_FLAG_PADDED:
            # How much of it is padding shows when it is complete.
            pass
        elif _count_empty(s, hd, hd.length == 0):
            return NGHTTP2_ERR_CALLBACK_FAILURE
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
        rv = _take_field(s, name, name_length, value, length)
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
            if frame.hd.flags & NGHTTP2_FLAG_PADDED and _count_empty(
                s, &frame.hd, frame.hd.length == frame.data.padlen
            ):
                return NGHTTP2_ERR_CALLBACK_FAILURE
            if s.data_stream != frame.hd.stream_id:
                s._flush_data(False)
                s.data_stream = frame.hd.stream_id
            s.data_frames += 1
            if end:
                s._flush_data(True)
        elif kind == NGHTTP2_HEADERS:
            if s.single is not None:
                _take_block(s, frame.hd.stream_id, end)
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
    cdef OutStream out
    try:
        if s.data_stream == stream_id:
            if code:
                s._drop_frame()
            s._flush_data(False)
            s.data_stream = 0
        out = s.outs.pop(stream_id, None)
        if out is not None:
            s.pending_bytes -= out.pending
        s.handler.on_stream_closed(stream_id, code)
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0
