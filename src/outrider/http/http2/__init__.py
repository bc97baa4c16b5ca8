"""HTTP/2 codecs (RFC 9113), over `native.http2`.

- `server_connection.py`, `client_connection.py`: the two codecs, the reading halves
- `server_stream.py`, `client_stream.py`: their streams, the writing halves
- `engine.py`: what both share: the session, faults and floods, flushing; `keepalive.py`: its pings
- `settings.py`, `stats.py`: Http2ProtocolOptions as plain objects; `http2.*` metrics
- `upgrade.py`: extended CONNECT (RFC 8441) to HTTP/1 upgrades and back
- `details.py`: response code details
"""
