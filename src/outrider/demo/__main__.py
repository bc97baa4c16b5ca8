"""`python -m outrider.demo [port]`: the demonstration upstream alone."""

import sys

from outrider.demo.upstream import DEFAULT_PORT, open_socket, serve

if __name__ == "__main__":
    serve(open_socket(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PORT))
