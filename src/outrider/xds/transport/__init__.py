"""What carries configuration.

- `grpc_stream.py`  a gRPC stream that is kept up, with back-off and a rate limit
- `rest.py`         REST-JSON polling
- `files.py`        files, watched
- `file_watch.py`   who tells when a file was replaced
- `back_off.py`     intervals between attempts
"""
