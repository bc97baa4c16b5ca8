# Part of http1.pyx: field names as ready objects.

cdef struct Slot:
    PyObject* name
    uint32_t hash
    uint8_t joined      # bit 0 in requests, bit 1 in responses
    uint8_t special     # SPECIAL_*

cdef enum:
    SPECIAL_NONE = 0
    SPECIAL_HOST = 1
    SPECIAL_CONNECTION = 2
    SPECIAL_CODING = 3

# Known names: open addressing, never changed by traffic. Names seen lately: one place each, the newest wins.
cdef Slot _table[TABLE_SIZE]
cdef Slot _cache[CACHE_SIZE]
cdef unsigned char _lower[256]
cdef unsigned char _token[256]
cdef dict _methods = {}
cdef PyObject* _method_names[64]
cdef bytes _CHUNKED = b"chunked"
cdef bytes _COMMA = b","
cdef bytes _EMPTY = b""


cdef inline uint32_t _hash_name(const unsigned char* text, Py_ssize_t length) noexcept:
    cdef uint32_t h = 2166136261u ^ <uint32_t>length
    cdef Py_ssize_t i
    for i in range(length):
        h = (h ^ text[i]) * 16777619u
    return h ^ (h >> 15)


cdef void _init_tables() except *:
    cdef int i
    memset(_table, 0, sizeof(_table))
    memset(_cache, 0, sizeof(_cache))
    memset(_method_names, 0, sizeof(_method_names))
    for i in range(256):
        _lower[i] = i + 32 if 65 <= i <= 90 else i
        _token[i] = 0
    for i in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        _token[i] = 1
    for name in KNOWN_NAMES:
        intern_name(name)
    for name in METHODS:
        _methods[name] = name
    for i in range(47):
        # 34..45 are RTSP's and the HTTP/2 preface.
        if i < 34 or i == 46:
            name = <bytes>llhttp_method_name(i)
            if name in _methods:
                _method_names[i] = <PyObject*>_methods[name]


def intern_name(bytes name not None):
    """Make `name` the object under which fields of that (lower-case) name are stored, so that look-ups by it are quick."""
    cdef Py_ssize_t length = PyBytes_GET_SIZE(name)
    cdef uint32_t h, place
    cdef Slot* slot
    if length == 0 or length > NAME_LIMIT or name != name.lower():
        return
    h = _hash_name(<const unsigned char*>PyBytes_AS_STRING(name), length)
    place = h % TABLE_SIZE
    while True:
        slot = &_table[place]
        if slot.name == NULL:
            if PyDict_Size(_interned) >= TABLE_SIZE // 2:
                return
            break
        if slot.hash == h and <bytes>slot.name == name:
            break
        place = (place + 1) % TABLE_SIZE
    hash(name)
    _interned[name] = name
    Py_XDECREF(slot.name)
    Py_INCREF(name)
    slot.name = <PyObject*>name
    slot.hash = h
    slot.joined = (1 if name in REQUEST_JOINED else 0) | (2 if name in RESPONSE_JOINED else 0)
    if name == b"host":
        slot.special = SPECIAL_HOST
    elif name == b"connection" or name == b"proxy-connection":
        slot.special = SPECIAL_CONNECTION
    elif name == b"transfer-encoding":
        slot.special = SPECIAL_CODING
    else:
        slot.special = SPECIAL_NONE


cdef dict _interned = {}
_init_tables()
