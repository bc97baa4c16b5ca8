# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""Serialiser of HTTP/1 header blocks and chunks: sizes first, then one copy. The interface is in `http1_writer.pyi`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject
from libc.string cimport memcpy


cdef inline bint _copy(char** to, const char* text, Py_ssize_t length) noexcept:
    """Copy a part of a header line; says whether it held CR, LF or NUL, which would begin another line."""
    cdef Py_ssize_t i
    cdef unsigned char bad = 0
    cdef unsigned char c
    cdef char* out = to[0]
    for i in range(length):
        c = <unsigned char>text[i]
        bad |= (c == 13) | (c == 10) | (c == 0)
        out[i] = <char>c
    to[0] = out + length
    return bad


cdef inline void _capitalise(char* name, Py_ssize_t length) noexcept:
    # The first letter, and each that follows something that is neither letter nor digit.
    cdef Py_ssize_t i
    cdef bint start = True
    cdef char c
    for i in range(length):
        c = name[i]
        if 97 <= c <= 122:
            if start:
                name[i] = c - 32
            start = False
        else:
            start = not (48 <= c <= 57 or 65 <= c <= 90)


cdef inline bint _line(char** to, bytes name, bytes value, dict case, bint proper) noexcept:
    cdef PyObject* spelled
    cdef char* begin = to[0]
    cdef bint bad = False
    cdef Py_ssize_t length
    if case is not None:
        spelled = PyDict_GetItem(case, name)
        if spelled != NULL:
            bad = _copy(to, PyBytes_AS_STRING(<object>spelled), PyBytes_GET_SIZE(<object>spelled))
            begin = NULL
    if begin != NULL:
        length = PyBytes_GET_SIZE(name)
        bad = _copy(to, PyBytes_AS_STRING(name), length)
        if proper:
            _capitalise(begin, length)
    to[0][0] = 58
    to[0][1] = 32
    to[0] += 2
    bad |= _copy(to, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    to[0][0] = 13
    to[0][1] = 10
    to[0] += 2
    return bad


cdef inline Py_ssize_t _line_size(bytes name, bytes value, dict case) except -1:
    cdef PyObject* spelled
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    if case is not None:
        spelled = PyDict_GetItem(case, name)
        if spelled != NULL:
            if not isinstance(<object>spelled, bytes):
                raise TypeError("spellings are bytes")
            size = PyBytes_GET_SIZE(<object>spelled)
    return size + PyBytes_GET_SIZE(value) + 4


cdef Py_ssize_t _fields_size(dict single, dict multi, dict case) except -1:
    cdef PyObject* key
    cdef PyObject* value
    cdef PyObject* values
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t size = 0
    while PyDict_Next(single, &at, &key, &value):
        if multi is not None:
            values = PyDict_GetItem(multi, <object>key)
            if values != NULL:
                for each in <list?><object>values:
                    size += _line_size(<bytes?><object>key, <bytes?>each, case)
                continue
        size += _line_size(<bytes?><object>key, <bytes?><object>value, case)
    return size


cdef bint _fields_write(char** to, dict single, dict multi, dict case, bint proper):
    cdef PyObject* key
    cdef PyObject* value
    cdef PyObject* values
    cdef Py_ssize_t at = 0
    cdef bint bad = False
    while PyDict_Next(single, &at, &key, &value):
        if multi is not None:
            values = PyDict_GetItem(multi, <object>key)
            if values != NULL:
                for each in <list><object>values:
                    bad |= _line(to, <bytes><object>key, <bytes>each, case, proper)
                continue
        bad |= _line(to, <bytes><object>key, <bytes><object>value, case, proper)
    return bad


cdef inline void _put(char** to, const char* text, Py_ssize_t length) noexcept:
    memcpy(to[0], text, length)
    to[0] += length


def encode_request(bytes method not None, bytes target not None, bytes host not None, dict single not None, dict multi,
                   bytes extra_name, bytes extra_value, dict case, bint proper):
    cdef Py_ssize_t size
    cdef Py_ssize_t i
    cdef bytes out
    cdef char* to
    cdef const char* text
    cdef bint bad = False
    cdef unsigned char c
    for part in (method, target):
        text = PyBytes_AS_STRING(part)
        for i in range(PyBytes_GET_SIZE(part)):
            c = <unsigned char>text[i]
            bad |= (c <= 32) | (c == 127)
    size = PyBytes_GET_SIZE(method) + PyBytes_GET_SIZE(target) + 12 + 2 + _line_size(b"host", host, case)
    size += _fields_size(single, multi, case)
    if extra_name is not None:
        size += _line_size(extra_name, extra_value, case)
    out = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(out)
    _put(&to, PyBytes_AS_STRING(method), PyBytes_GET_SIZE(method))
    to[0] = 32
    to += 1
    _put(&to, PyBytes_AS_STRING(target), PyBytes_GET_SIZE(target))
    _put(&to, b" HTTP/1.1\r\n", 11)
    bad |= _line(&to, b"host", host, case, proper)
    bad |= _fields_write(&to, single, multi, case, proper)
    if extra_name is not None:
        bad |= _line(&to, extra_name, extra_value, case, proper)
    _put(&to, b"\r\n", 2)
    if bad:
        raise ValueError("a character that cannot be in a request head")
    return out


def encode_head(bytes first_line not None, dict single not None, dict multi, bytes extra_name, bytes extra_value,
                dict case, bint proper):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(first_line) + 2
    cdef bytes out
    cdef char* to
    cdef bint bad
    size += _fields_size(single, multi, case)
    if extra_name is not None:
        size += _line_size(extra_name, extra_value, case)
    out = PyBytes_FromStringAndSize(NULL, size)
    to = PyBytes_AS_STRING(out)
    _put(&to, PyBytes_AS_STRING(first_line), PyBytes_GET_SIZE(first_line))
    bad = _fields_write(&to, single, multi, case, proper)
    if extra_name is not None:
        bad |= _line(&to, extra_name, extra_value, case, proper)
    _put(&to, b"\r\n", 2)
    if bad:
        raise ValueError("a character that cannot be in a header line")
    return out


def encode_chunk(bytes data not None, bint last):
    cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
    cdef char digits[16]
    cdef int count = 0
    cdef size_t rest = length
    cdef bytes out
    cdef char* to
    while rest:
        digits[count] = b"0123456789abcdef"[rest & 15]
        count += 1
        rest >>= 4
    out = PyBytes_FromStringAndSize(NULL, (count + length + 4 if length else 0) + (5 if last else 0))
    to = PyBytes_AS_STRING(out)
    if length:
        while count:
            count -= 1
            to[0] = digits[count]
            to += 1
        _put(&to, b"\r\n", 2)
        _put(&to, PyBytes_AS_STRING(data), length)
        _put(&to, b"\r\n", 2)
    if last:
        _put(&to, b"0\r\n\r\n", 5)
    return out


def uuid_text(bytes source not None, Py_ssize_t at):
    cdef const unsigned char* digits = b"0123456789abcdef"
    cdef const unsigned char* start
    cdef bytes out
    cdef char* to
    cdef int i
    cdef unsigned char value
    if at < 0 or at + 16 > PyBytes_GET_SIZE(source):
        raise IndexError(at)
    start = <const unsigned char*>PyBytes_AS_STRING(source) + at
    out = PyBytes_FromStringAndSize(NULL, 36)
    to = PyBytes_AS_STRING(out)
    for i in range(16):
        value = start[i]
        if i == 6:
            value = 0x40 | (value & 0x0F)
        elif i == 8:
            value = 0x80 | (value & 0x3F)
        if i == 4 or i == 6 or i == 8 or i == 10:
            to[0] = 45
            to += 1
        to[0] = digits[value >> 4]
        to[1] = digits[value & 15]
        to += 2
    return out
