# Field names as interned objects: those that are known, and those seen lately.

cdef struct Slot:
    PyObject* name
    uint32_t hash
    uint8_t joined      # bit 0 in requests, bit 1 in responses
    uint8_t special

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
