"""Sends every datagram back; the upstream of the UDP scenario, in a process of its own."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", int(sys.argv[1])))
        buffer = bytearray(65536)
        view = memoryview(buffer)
        while True:
            size, sender = server.recvfrom_into(buffer)
            server.sendto(view[:size], sender)


if __name__ == "__main__":
    main()
