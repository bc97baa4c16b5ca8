# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: nonecheck=False
"""TCP sockets without a layer between: readiness of many in one system call, transports, accepting and connecting.

The interface is described in `sockets.pyi`. Sockets are watched edge-triggered by an epoll descriptor of our own, and
the loop watches that one: what is ready is handled in one batch, and what the batch writes goes out at its end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

import os
import socket

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        void* ptr
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event*)
    int epoll_wait(int, epoll_event*, int, int)
    enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLLRDHUP
        EPOLLET

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        uint16_t sa_family
    struct sockaddr_storage:
        uint16_t ss_family
    int c_socket "socket" (int, int, int)
    int c_connect "connect" (int, const sockaddr*, socklen_t)
    int accept4(int, sockaddr*, socklen_t*, int)
    int c_getsockopt "getsockopt" (int, int, int, void*, socklen_t*)
    int c_setsockopt "setsockopt" (int, int, int, const void*, socklen_t)
    int c_getsockname "getsockname" (int, sockaddr*, socklen_t*)
    int c_getpeername "getpeername" (int, sockaddr*, socklen_t*)
    int c_shutdown "shutdown" (int, int)
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)
    enum:
        AF_INET
        AF_INET6
        SOCK_STREAM
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SOL_SOCKET
        SO_ERROR
        SHUT_WR
        MSG_NOSIGNAL

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "sys/socket.h" nogil:
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int, const msghdr*, int)

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    uint16_t ntohs(uint16_t)
    uint16_t htons(uint16_t)
    enum:
        IPPROTO_TCP
        INET6_ADDRSTRLEN

cdef extern from "netinet/tcp.h" nogil:
    enum:
        TCP_NODELAY

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int, const void*, char*, socklen_t)
    int inet_pton(int, const char*, void*)

cdef extern from *:
    """
    #if defined(__GLIBC__)
    #include <malloc.h>
    /* Chunks of bodies come and go by the megabyte; giving each back to the kernel costs a page fault per 4 KiB. */
    static void keep_memory(void) {
        mallopt(M_MMAP_THRESHOLD, 1 << 20);
        mallopt(M_TRIM_THRESHOLD, 4 << 20);
    }
    #else
    static void keep_memory(void) {}
    #endif
    """
    void keep_memory()

cdef extern from "fcntl.h" nogil:
    ssize_t splice(int, void*, int, void*, size_t, unsigned int)
    int fcntl(int, int, ...)
    enum:
        SPLICE_F_MOVE
        SPLICE_F_NONBLOCK
        F_SETPIPE_SZ
        O_NONBLOCK
        O_CLOEXEC

cdef extern from "unistd.h" nogil:
    int c_close "close" (int)
    int pipe2(int*, int)

cdef enum:
    BATCH = 256
    # One read; more waits for the other sockets of the batch. Measured for bodies: half or double costs twice as much.
    READ_SIZE = 262144
    IOV_COUNT = 64
    ACCEPT_RETRY_MS = 100
    # One splice, and the pipes for it. Less than BULK in one read is copied: a pipe costs more than it saves then.
    RELAY_SIZE = 1048576
    BULK = 65536
    SPARE_PIPES = 16

cdef struct Slot:
    PyObject* watcher
    uint32_t generation

cdef struct SocketName:
    # Large enough for IPv6.
    char storage[128]


cdef object _name_of(const SocketName* name):
    """(host, port), or None for other families than IP."""
    cdef char text[INET6_ADDRSTRLEN]
    cdef const sockaddr_in* v4 = <const sockaddr_in*>name
    cdef const sockaddr_in6* v6 = <const sockaddr_in6*>name
    if v4.sin_family == AF_INET:
        if inet_ntop(AF_INET, &v4.sin_addr, text, INET6_ADDRSTRLEN) == NULL:
            return None
        return ((<bytes>text).decode("ascii"), <int>ntohs(v4.sin_port))
    if v6.sin6_family == AF_INET6:
        if inet_ntop(AF_INET6, &v6.sin6_addr, text, INET6_ADDRSTRLEN) == NULL:
            return None
        return ((<bytes>text).decode("ascii"), <int>ntohs(v6.sin6_port))
    return None


cdef class Watcher:
    """Something with a descriptor in a poller."""

    cdef Poller poller
    cdef int fd
    cdef bint queued

    cdef int on_events(self, uint32_t events) except -1:
        return 0

    cdef int on_again(self) except -1:
        return 0

    cdef object on_failure(self, object error):
        """A callback has raised."""


cdef class Poller:
    """See `sockets.pyi`."""

    cdef int epoll
    cdef Slot* slots
    cdef int capacity
    cdef object dispatcher
    cdef object loop
    cdef list again
    cdef list lost
    cdef bint running
    cdef bint scheduled
    cdef uint32_t generation
    cdef char* buffer
    # Empty pipes: the ends for reading and for writing.
    cdef int[SPARE_PIPES][2] pipes
    cdef int pipe_count

    def __cinit__(self):
        self.epoll = -1
        self.slots = NULL
        self.buffer = NULL

    def __init__(self, dispatcher):
        self.dispatcher = dispatcher
        self.loop = dispatcher.loop
        self.again = []
        self.lost = []
        keep_memory()
        self.buffer = <char*>malloc(READ_SIZE)
        if self.buffer == NULL:
            raise MemoryError
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.loop.add_reader(self.epoll, self.run)

    def __dealloc__(self):
        if self.epoll >= 0:
            c_close(self.epoll)
        while self.pipe_count:
            self.pipe_count -= 1
            c_close(self.pipes[self.pipe_count][0])
            c_close(self.pipes[self.pipe_count][1])
        free(self.slots)
        free(self.buffer)

    def close(self):
        cdef int fd
        if self.epoll >= 0:
            self.loop.remove_reader(self.epoll)
            c_close(self.epoll)
            self.epoll = -1
            for fd in range(self.capacity):
                self.forget(fd, True)

    cdef int register(self, Watcher watcher, uint32_t events) except -1:
        cdef epoll_event event
        cdef int fd = watcher.fd
        cdef int wanted
        cdef Slot* grown
        if fd >= self.capacity:
            wanted = fd * 2 + 64
            grown = <Slot*>realloc(self.slots, wanted * sizeof(Slot))
            if grown == NULL:
                raise MemoryError
            memset(grown + self.capacity, 0, (wanted - self.capacity) * sizeof(Slot))
            self.slots = grown
            self.capacity = wanted
        self.generation += 1
        event.events = events
        event.data.u64 = (<uint64_t>self.generation << 32) | <uint32_t>fd
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        Py_INCREF(watcher)
        self.slots[fd].watcher = <PyObject*>watcher
        self.slots[fd].generation = self.generation
        return 0

    cdef int change(self, int fd, uint32_t events) noexcept:
        cdef epoll_event event
        event.events = events
        event.data.u64 = (<uint64_t>self.slots[fd].generation << 32) | <uint32_t>fd
        return epoll_ctl(self.epoll, EPOLL_CTL_MOD, fd, &event)

    cdef void forget(self, int fd, bint closes) noexcept:
        """Watch no more; a descriptor that is closed next leaves the set by itself."""
        cdef epoll_event event
        cdef PyObject* watcher
        if fd < self.capacity and self.slots[fd].watcher != NULL:
            watcher = self.slots[fd].watcher
            self.slots[fd].watcher = NULL
            self.slots[fd].generation = 0
            if not closes:
                epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &event)
            Py_DECREF(<object>watcher)

    cdef bint take_pipe(self, int* ends) noexcept:
        if self.pipe_count:
            self.pipe_count -= 1
            ends[0] = self.pipes[self.pipe_count][0]
            ends[1] = self.pipes[self.pipe_count][1]
            return True
        if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
            ends[0] = ends[1] = -1
            return False
        # More than an unprivileged user may have leaves it as it is.
        fcntl(ends[1], F_SETPIPE_SZ, <int>RELAY_SIZE)
        return True

    cdef void give_pipe(self, int* ends, bint empty) noexcept:
        if empty and self.pipe_count < SPARE_PIPES:
            self.pipes[self.pipe_count][0] = ends[0]
            self.pipes[self.pipe_count][1] = ends[1]
            self.pipe_count += 1
        else:
            c_close(ends[0])
            c_close(ends[1])
        ends[0] = ends[1] = -1

    cdef int schedule(self) except -1:
        if not self.running and not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.run)
        return 0

    cdef int queue(self, Watcher watcher) except -1:
        """Run `on_again` in this batch, or soon."""
        if not watcher.queued:
            watcher.queued = True
            self.again.append(watcher)
            self.schedule()
        return 0

    def run(self):
        cdef epoll_event events[BATCH]
        cdef int count
        cdef int i
        cdef int fd
        cdef Slot* slot
        cdef Watcher watcher
        cdef list again
        cdef object cork = self.dispatcher.cork
        if self.running or self.epoll < 0:
            return
        self.running = True
        self.scheduled = False
        if cork is not None:
            cork.active = True
        try:
            count = epoll_wait(self.epoll, events, BATCH, 0)
            for i in range(count):
                fd = <int>(events[i].data.u64 & 0xFFFFFFFFu)
                slot = &self.slots[fd]
                if slot.watcher == NULL or slot.generation != <uint32_t>(events[i].data.u64 >> 32):
                    # Closed by an earlier one of this batch.
                    continue
                watcher = <Watcher>slot.watcher
                try:
                    watcher.on_events(events[i].events)
                except Exception as error:
                    self.failed(watcher, error)
            if self.again:
                again = self.again
                self.again = []
                for watcher in again:
                    watcher.queued = False
                    try:
                        watcher.on_again()
                    except Exception as error:
                        self.failed(watcher, error)
            self.tell_lost()
        finally:
            cork = self.dispatcher.cork
            if cork is not None:
                cork.release()
            self.running = False
            if self.again or self.lost:
                self.schedule()

    cdef int tell_lost(self) except -1:
        cdef list lost
        cdef SocketTransport transport
        while self.lost:
            lost = self.lost
            self.lost = []
            for transport, error in lost:
                try:
                    transport.tell_lost(error)
                except Exception as raised:
                    self.failed(transport, raised)
        return 0

    cdef object failed(self, Watcher watcher, error):
        self.loop.call_exception_handler({"message": "in a socket's callback", "exception": error})
        watcher.on_failure(error)


cdef class SocketTransport(Watcher):
    """See `sockets.pyi`."""

    def __cinit__(self):
        self.fd = -1
        self.pipe[0] = self.pipe[1] = -1

    cdef object protocol
    cdef object attempt
    cdef object peer
    cdef object raw
    cdef list pieces
    # Bytes of the first piece that are sent.
    cdef Py_ssize_t offset
    cdef Py_ssize_t buffered
    cdef Py_ssize_t high
    cdef Py_ssize_t low
    cdef bint reading
    # There may be bytes in the kernel; nothing will say so again.
    cdef bint readable
    # The peer's end, or an error, waits behind what can be read.
    cdef bint ending
    cdef bint read_done
    cdef bint watches_out
    cdef bint paused
    cdef bint closing
    cdef bint eof_wanted
    cdef bint eof_sent
    cdef bint connecting
    # Where what comes in may go without passing through here, and who is told of it.
    cdef SocketTransport sink
    cdef object relay
    # Much came in one read.
    cdef bint bulk
    # Bytes on the way out that lie in a pipe, before all in `pieces`.
    cdef int[2] pipe
    cdef Py_ssize_t in_pipe

    def __init__(self, Poller poller not None, int fd, protocol, peer=None):
        self.poller = poller
        self.fd = fd
        self.protocol = protocol
        self.peer = peer
        self.pieces = []
        self.high = 65536
        self.low = 16384

    def __dealloc__(self):
        if self.fd >= 0 and self.raw is None:
            c_close(self.fd)

    def start(self):
        self.reading = True
        self.poller.register(self, EPOLLIN | EPOLLRDHUP | EPOLLET)

    # --- events ---

    cdef int on_events(self, uint32_t events) except -1:
        cdef int number
        if self.connecting:
            if not self.finish_connect():
                return 0
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            self.ending = True
            self.readable = True
        elif events & EPOLLIN:
            self.readable = True
        if events & EPOLLOUT and (self.buffered or self.in_pipe):
            self.flush()
        if self.fd < 0:
            return 0
        if self.readable and self.reading:
            self.read()
        elif events & EPOLLERR and self.read_done:
            number = self.socket_error()
            if number:
                self.give_up(number)
        return 0

    cdef int on_again(self) except -1:
        if self.fd >= 0 and self.readable and self.reading:
            self.read()
        return 0

    cdef object on_failure(self, object error):
        if self.fd >= 0 and not self.connecting:
            self.closing = True
            self.shut(error)

    cdef int read(self) except -1:
        cdef ssize_t got
        cdef int number
        while True:
            if self.bulk and self.sink is not None and self.pass_on():
                if self.reading and self.fd >= 0:
                    self.poller.queue(self)
                return 0
            got = recv(self.fd, self.poller.buffer, READ_SIZE, 0)
            if got > 0:
                if got < READ_SIZE and not self.ending:
                    self.readable = False
                self.bulk = got >= BULK
                data = PyBytes_FromStringAndSize(self.poller.buffer, got)
                self.protocol.data_received(data)
                if not self.readable or not self.reading or self.fd < 0:
                    return 0
                if got < READ_SIZE:
                    # The end is next.
                    continue
                self.poller.queue(self)
                return 0
            if got == 0:
                self.readable = False
                self.reading = False
                self.read_done = True
                if not self.protocol.eof_received():
                    self.close()
                return 0
            number = errno
            if number == EINTR:
                continue
            self.readable = False
            if number != EAGAIN:
                self.give_up(number)
            return 0

    cdef bint pass_on(self) except -1:
        """From the kernel to the kernel. False: not now, the bytes have to be read."""
        cdef SocketTransport sink = self.sink
        cdef ssize_t got
        self.bulk = False
        if sink.fd < 0 or sink.closing or sink.eof_wanted or sink.connecting or self.connecting:
            return False
        # What was written and is held back comes first.
        sink.protocol.flush_corked()
        if sink.fd < 0 or sink.buffered or sink.in_pipe or not self.poller.take_pipe(sink.pipe):
            return False
        got = splice(self.fd, NULL, sink.pipe[1], NULL, RELAY_SIZE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if got <= 0:
            # The end, an error, or nothing there: reading says which.
            self.poller.give_pipe(sink.pipe, True)
            return False
        self.bulk = got >= BULK
        sink.in_pipe = got
        self.relay.on_relayed(got)
        if sink.fd >= 0:
            sink.flush()
            if sink.fd >= 0 and sink.in_pipe:
                sink.watch_out()
                sink.check_high()
        return True

    cdef int drain_pipe(self) except -1:
        """Send what lies in the pipe; 0 when it is empty then."""
        cdef ssize_t sent
        cdef int number
        while self.in_pipe:
            sent = splice(self.pipe[0], NULL, self.fd, NULL, self.in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
            if sent <= 0:
                number = errno
                if sent < 0 and number == EINTR:
                    continue
                if sent < 0 and number != EAGAIN:
                    self.give_up(number)
                return 1
            self.in_pipe -= sent
        self.poller.give_pipe(self.pipe, True)
        return 0

    def relay_to(self, SocketTransport sink, relay):
        self.sink = sink
        self.relay = relay

    cdef int socket_error(self) noexcept:
        cdef int number = 0
        cdef socklen_t size = sizeof(int)
        if c_getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &number, &size) < 0:
            return errno
        return number

    # --- writing ---

    def write(self, data):
        cdef ssize_t sent
        cdef Py_ssize_t size
        cdef int number
        cdef bytes piece = data if type(data) is bytes else bytes(data)
        size = PyBytes_GET_SIZE(piece)
        if self.fd < 0 or self.closing or self.eof_wanted or size == 0:
            return
        if self.buffered == 0 and self.in_pipe == 0 and not self.connecting:
            while True:
                sent = send(self.fd, PyBytes_AS_STRING(piece), size, MSG_NOSIGNAL)
                if sent == size:
                    return
                if sent >= 0:
                    break
                number = errno
                if number == EINTR:
                    continue
                if number != EAGAIN:
                    self.give_up(number)
                    return
                sent = 0
                break
            self.offset = sent
            size -= sent
            self.watch_out()
        self.pieces.append(piece)
        self.buffered += size
        self.check_high()

    def writelines(self, pieces):
        cdef bytes piece
        if self.fd < 0 or self.closing or self.eof_wanted:
            return
        fresh = self.buffered == 0 and self.in_pipe == 0
        for each in pieces:
            piece = each if type(each) is bytes else bytes(each)
            if PyBytes_GET_SIZE(piece):
                self.pieces.append(piece)
                self.buffered += PyBytes_GET_SIZE(piece)
        if fresh and self.buffered and not self.connecting:
            self.flush()
            if self.fd >= 0 and self.buffered:
                self.watch_out()
        self.check_high()

    cdef int check_high(self) except -1:
        if self.buffered + self.in_pipe > self.high and not self.paused and self.fd >= 0:
            self.paused = True
            self.protocol.pause_writing()
        return 0

    cdef void watch_out(self) noexcept:
        if not self.watches_out:
            self.watches_out = True
            self.poller.change(self.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

    cdef int flush(self) except -1:
        """Send what is buffered, as much as the kernel takes."""
        cdef iovec vectors[IOV_COUNT]
        cdef msghdr message
        cdef ssize_t sent
        cdef Py_ssize_t done
        cdef Py_ssize_t length
        cdef Py_ssize_t asked
        cdef int count
        cdef int i
        cdef int number
        cdef list pieces = self.pieces
        if self.in_pipe and self.drain_pipe():
            return 0
        memset(&message, 0, sizeof(message))
        message.msg_iov = vectors
        while self.buffered:
            count = 0
            asked = 0
            for i in range(len(pieces)):
                piece = pieces[i]
                done = self.offset if i == 0 else 0
                vectors[count].iov_base = PyBytes_AS_STRING(piece) + done
                vectors[count].iov_len = PyBytes_GET_SIZE(piece) - done
                asked += vectors[count].iov_len
                count += 1
                if count == IOV_COUNT:
                    break
            message.msg_iovlen = count
            sent = sendmsg(self.fd, &message, MSG_NOSIGNAL)
            if sent < 0:
                number = errno
                if number == EINTR:
                    continue
                if number != EAGAIN:
                    self.give_up(number)
                    return 0
                break
            self.buffered -= sent
            done = sent + self.offset
            count = 0
            while count < len(pieces):
                length = PyBytes_GET_SIZE(pieces[count])
                if done < length:
                    break
                done -= length
                count += 1
            self.offset = done
            del pieces[:count]
            if sent < asked:
                break
        if self.paused and self.buffered <= self.low:
            self.paused = False
            self.protocol.resume_writing()
            if self.fd < 0:
                return 0
        if self.buffered == 0:
            self.offset = 0
            if self.closing:
                self.shut(None)
            elif self.eof_wanted:
                self.send_eof()
        return 0

    def write_eof(self):
        if self.fd < 0 or self.closing or self.eof_wanted:
            return
        self.eof_wanted = True
        if self.buffered == 0 and self.in_pipe == 0 and not self.connecting:
            self.send_eof()

    cdef void send_eof(self) noexcept:
        if not self.eof_sent:
            self.eof_sent = True
            c_shutdown(self.fd, SHUT_WR)

    def can_write_eof(self):
        return True

    def get_write_buffer_size(self):
        return self.buffered + self.in_pipe

    def set_write_buffer_limits(self, high=None, low=None):
        self.high = 65536 if high is None else high
        self.low = self.high // 4 if low is None else low
        self.check_high()

    # --- reading ---

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        if self.fd < 0 or self.closing or self.read_done or self.connecting:
            return
        self.reading = True
        if self.readable:
            self.poller.queue(self)

    def is_reading(self):
        return self.reading

    # --- the end ---

    def is_closing(self):
        return self.closing or self.fd < 0

    def close(self):
        if self.fd < 0 or self.closing:
            return
        self.closing = True
        self.reading = False
        if self.connecting or (self.buffered == 0 and self.in_pipe == 0):
            self.shut(None)
        elif self.ending and self.socket_error():
            # Nobody is left to take what is buffered.
            self.shut(None)

    def abort(self):
        if self.fd < 0:
            return
        self.closing = True
        self.shut(None)

    cdef int give_up(self, int number) except -1:
        self.closing = True
        return self.shut(OSError(number, os.strerror(number)))

    cdef int shut(self, error) except -1:
        """Close the descriptor; the protocol hears of it later, never from within a call of its own."""
        cdef int fd = self.fd
        if fd < 0:
            return 0
        self.reading = False
        self.fd = -1
        self.pieces = []
        self.buffered = 0
        if self.pipe[0] >= 0:
            self.poller.give_pipe(self.pipe, self.in_pipe == 0)
            self.in_pipe = 0
        self.sink = None
        self.relay = None
        if self.raw is not None:
            self.raw.detach()
            self.raw = None
        self.poller.forget(fd, True)
        c_close(fd)
        if self.connecting:
            self.connecting = False
            self.protocol = None
            self.attempt = None
        else:
            self.poller.lost.append((self, error))
            self.poller.schedule()
        return 0

    cdef int tell_lost(self, error) except -1:
        protocol = self.protocol
        self.protocol = None
        if protocol is not None:
            protocol.connection_lost(error)
        return 0

    # --- connecting ---

    cdef bint finish_connect(self) except -1:
        """The attempt is decided. False: it has failed, or the protocol has closed at once."""
        cdef int number = self.socket_error()
        attempt = self.attempt
        self.attempt = None
        if number:
            self.shut(None)
            attempt.on_connect_failed(number)
            return False
        self.connecting = False
        self.reading = True
        self.protocol.connection_made(self)
        return self.fd >= 0

    # --- facts ---

    def fileno(self):
        return self.fd

    def get_protocol(self):
        return self.protocol

    def get_extra_info(self, name, default=None):
        cdef SocketName found
        cdef socklen_t size = sizeof(SocketName)
        if name == "peername":
            if self.peer is None and self.fd >= 0:
                if c_getpeername(self.fd, <sockaddr*>&found, &size) == 0:
                    self.peer = _name_of(&found)
            return default if self.peer is None else self.peer
        if self.fd < 0:
            return default
        if name == "sockname":
            if c_getsockname(self.fd, <sockaddr*>&found, &size) == 0:
                return _name_of(&found)
        elif name == "socket":
            if self.raw is None:
                self.raw = socket.socket(fileno=self.fd)
            return self.raw
        return default

    def __repr__(self):
        return f"<SocketTransport fd={self.fd} peer={self.peer}>"


def connect(Poller poller not None, str host not None, int port, protocol, attempt):
    cdef SocketName name
    cdef sockaddr_in* v4 = <sockaddr_in*>&name
    cdef sockaddr_in6* v6 = <sockaddr_in6*>&name
    cdef socklen_t size
    cdef bytes text = host.encode("ascii")
    cdef int family
    cdef int fd
    cdef int number
    cdef int one = 1
    cdef SocketTransport transport
    memset(&name, 0, sizeof(SocketName))
    if inet_pton(AF_INET, text, &v4.sin_addr) == 1:
        family = AF_INET
        v4.sin_family = AF_INET
        v4.sin_port = htons(port)
        size = sizeof(sockaddr_in)
    elif inet_pton(AF_INET6, text, &v6.sin6_addr) == 1:
        family = AF_INET6
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(port)
        size = sizeof(sockaddr_in6)
    else:
        raise ValueError(host)
    fd = c_socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        raise OSError(errno, os.strerror(errno))
    c_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int))
    if c_connect(fd, <sockaddr*>&name, size) < 0 and errno != EINPROGRESS:
        number = errno
        c_close(fd)
        raise OSError(number, os.strerror(number))
    transport = SocketTransport(poller, fd, protocol, (host, port))
    transport.connecting = True
    transport.attempt = attempt
    transport.watches_out = True
    try:
        poller.register(transport, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
    except BaseException:
        transport.fd = -1
        c_close(fd)
        raise
    return transport


cdef class Acceptor(Watcher):
    """See `sockets.pyi`."""

    cdef object owner
    cdef int limit

    def __init__(self, Poller poller not None, int fd, owner, int limit=0):
        cdef int one = 1
        self.poller = poller
        self.fd = fd
        self.owner = owner
        self.limit = limit if limit > 0 else 1 << 30
        # What is accepted inherits it (tcp(7)); on other sockets it does not matter that it fails.
        c_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(int))
        poller.register(self, EPOLLIN)

    def stop(self):
        if self.fd >= 0:
            self.poller.forget(self.fd, False)
            self.fd = -1
        self.owner = None

    def resume(self):
        if self.fd >= 0:
            self.poller.change(self.fd, EPOLLIN)

    cdef int on_events(self, uint32_t events) except -1:
        cdef SocketName name
        cdef socklen_t size
        cdef int fd
        cdef int number
        cdef int count = 0
        owner = self.owner
        while count < self.limit and self.fd >= 0:
            size = sizeof(SocketName)
            fd = accept4(self.fd, <sockaddr*>&name, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                number = errno
                if number == EAGAIN:
                    break
                if number == EMFILE or number == ENFILE or number == ENOBUFS or number == ENOMEM:
                    # It would say so again at once: what is in use may be given back meanwhile.
                    self.poller.change(self.fd, 0)
                    self.poller.loop.call_later(ACCEPT_RETRY_MS / 1000, self.resume)
                    break
                # The peer is gone already; there may be more.
                count += 1
                continue
            count += 1
            try:
                owner.on_accepted(fd, _name_of(&name))
            except Exception as error:
                self.poller.failed(self, error)
        if count:
            owner.on_accepted_batch(count)
        return 0
