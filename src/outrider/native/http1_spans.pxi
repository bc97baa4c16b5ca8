# Part of http1.pyx: llhttp's callbacks, which note where in the fed bytes the parts of a message are.

cdef struct Field:
    uint32_t name
    uint32_t name_length
    uint32_t value
    uint32_t value_length

cdef struct Piece:
    const char* start
    size_t length

# llhttp's callbacks get the parser; it is the first member, so it is the state as well.
cdef struct State:
    llhttp_t parser
    # Address at which the first byte of the head (or trailers) would stand if all of it were in the current feed.
    uintptr_t origin
    int phase
    int note
    int error
    int max_fields
    int count
    int capacity
    bint in_name
    bint value_seen
    bint custom
    Field* fields
    uint32_t url
    uint32_t url_length
    uint32_t reason
    uint32_t reason_length
    bint foreign
    size_t extension
    size_t max_extension
    Piece* pieces
    int piece_count
    int piece_capacity


cdef int _on_message_begin(llhttp_t* p) noexcept:
    cdef State* s = <State*>p
    s.phase = HEAD
    s.count = 0
    s.in_name = False
    s.url_length = 0
    s.reason_length = 0
    s.foreign = False
    return 0


cdef int _on_protocol(llhttp_t* p, const char* at, size_t length) noexcept:
    # llhttp knows RTSP and ICE as well; only HTTP has a first letter H.
    cdef State* s = <State*>p
    if s.origin == 0:
        s.origin = <uintptr_t>at
    if at[0] == 82 or at[0] == 73:
        s.foreign = True
    return 0


cdef int _on_start(llhttp_t* p, const char* at, size_t length) noexcept:
    # The method: the first byte of a head, unless an earlier feed began it or the method came separately.
    cdef State* s = <State*>p
    if s.origin == 0:
        s.origin = <uintptr_t>at
    return 0


cdef int _on_method_complete(llhttp_t* p) noexcept:
    cdef State* s = <State*>p
    if not s.custom and (p.method >= 64 or _method_names[p.method] == NULL):
        s.error = KIND_METHOD
        return HPE_USER
    return 0


cdef int _on_url(llhttp_t* p, const char* at, size_t length) noexcept:
    cdef State* s = <State*>p
    cdef uint32_t offset = <uint32_t>(<uintptr_t>at - s.origin)
    if s.url_length == 0:
        s.url = offset
    s.url_length = offset + <uint32_t>length - s.url
    return 0


cdef int _on_status(llhttp_t* p, const char* at, size_t length) noexcept:
    cdef State* s = <State*>p
    cdef uint32_t offset = <uint32_t>(<uintptr_t>at - s.origin)
    if s.reason_length == 0:
        s.reason = offset
    s.reason_length = offset + <uint32_t>length - s.reason
    return 0


cdef int _on_field(llhttp_t* p, const char* at, size_t length) noexcept:
    cdef State* s = <State*>p
    cdef uint32_t offset
    cdef Field* field
    cdef Field* grown
    if s.phase == BODY:
        # After the last chunk.
        s.phase = TRAILERS
        s.origin = <uintptr_t>at
        s.count = 0
        s.in_name = False
    offset = <uint32_t>(<uintptr_t>at - s.origin)
    if not s.in_name:
        if s.count >= s.max_fields:
            s.error = KIND_TOO_MANY
            return HPE_USER
        if s.count >= s.capacity:
            grown = <Field*>realloc(s.fields, s.capacity * 2 * sizeof(Field))
            if grown == NULL:
                return HPE_USER
            s.fields = grown
            s.capacity *= 2
        field = &s.fields[s.count]
        s.count += 1
        s.in_name = True
        s.value_seen = False
        field.name = offset
        field.value = 0
        field.value_length = 0
    else:
        field = &s.fields[s.count - 1]
    field.name_length = offset + <uint32_t>length - field.name
    return 0


cdef int _on_field_complete(llhttp_t* p) noexcept:
    (<State*>p).in_name = False
    return 0


cdef int _on_value(llhttp_t* p, const char* at, size_t length) noexcept:
    cdef State* s = <State*>p
    cdef uint32_t offset = <uint32_t>(<uintptr_t>at - s.origin)
    cdef Field* field = &s.fields[s.count - 1]
    if not s.value_seen:
        s.value_seen = True
        field.value = offset
    field.value_length = offset + <uint32_t>length - field.value
    return 0


cdef int _on_headers_complete(llhttp_t* p) noexcept:
    (<State*>p).note = NOTE_HEAD
    return HPE_PAUSED


cdef int _on_message_complete(llhttp_t* p) noexcept:
    (<State*>p).note = NOTE_COMPLETE
    return HPE_PAUSED


cdef int _on_body(llhttp_t* p, const char* at, size_t length) noexcept:
    cdef State* s = <State*>p
    cdef Piece* grown
    if s.piece_count >= s.piece_capacity:
        grown = <Piece*>realloc(s.pieces, (s.piece_capacity * 2 + 8) * sizeof(Piece))
        if grown == NULL:
            return HPE_USER
        s.pieces = grown
        s.piece_capacity = s.piece_capacity * 2 + 8
    s.pieces[s.piece_count].start = at
    s.pieces[s.piece_count].length = length
    s.piece_count += 1
    return 0


cdef int _on_chunk_header(llhttp_t* p) noexcept:
    (<State*>p).extension = 0
    return 0


cdef int _on_extension(llhttp_t* p, const char* at, size_t length) noexcept:
    cdef State* s = <State*>p
    s.extension += length
    if s.extension > s.max_extension:
        s.error = KIND_EXTENSION
        return HPE_USER
    return 0


cdef llhttp_settings_t _settings
llhttp_settings_init(&_settings)
_settings.on_message_begin = _on_message_begin
_settings.on_method = _on_start
_settings.on_method_complete = _on_method_complete
_settings.on_protocol = _on_protocol
_settings.on_url = _on_url
_settings.on_status = _on_status
_settings.on_header_field = _on_field
_settings.on_header_field_complete = _on_field_complete
_settings.on_header_value = _on_value
_settings.on_headers_complete = _on_headers_complete
_settings.on_message_complete = _on_message_complete
_settings.on_body = _on_body
_settings.on_chunk_header = _on_chunk_header
_settings.on_chunk_extension_name = _on_extension
_settings.on_chunk_extension_value = _on_extension
