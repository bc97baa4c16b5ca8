# What goes out: name-value pairs, frames that are sent, body bytes.

cdef inline void _pair(nghttp2_nv* nv, bytes name, bytes value) noexcept:
    nv.name = <uint8_t*>PyBytes_AS_STRING(name)
    nv.namelen = PyBytes_GET_SIZE(name)
    nv.value = <uint8_t*>PyBytes_AS_STRING(value)
    nv.valuelen = PyBytes_GET_SIZE(value)
    nv.flags = 0


cdef nghttp2_nv* _pairs(list pseudo, dict single, dict multi, size_t* count) except NULL:
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
        s.pending_bytes -= length
        s.out_size += FRAME_HEAD + length
        if out.high and out.pending <= s.high_limit // 2:
            out.high = False
            s.lows.append(frame.hd.stream_id)
    except BaseException as error:
        s.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0
