"""The harness of the parity tests.

- `config.py`    builds configurations from small pieces of YAML, with placeholders for ports
- `case.py`      a case: what to send, what the upstream answers, what to compare
- `grpc.py`      gRPC servers that proxies call
- `side.py`      one proxy with its own ports, upstreams, access log
- `normal.py`    takes out what differs by nature: ports, dates, durations, request ids
- `pair.py`      runs a case on both sides and compares
"""
