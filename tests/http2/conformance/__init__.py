"""Raw frames against the codecs, one table a section of RFC 9113 and RFC 7541.

- `frames.py`   building and reading frames
- `server.py`   the server codec without a socket, and what became of the frames it was fed
- `client.py`   the same for the client codec
- `test_*.py`   the tables
"""
