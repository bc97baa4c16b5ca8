"""What carries configuration.

- `grpc_stream.py`  a gRPC stream that is kept up, with back-off and a rate limit
- `failover.py`     two servers for one stream
- `rest.py`         REST-JSON polling
- `files.py`        files, watched
- `back_off.py`     intervals between attempts
"""
