"""HTTP/1.0 and 1.1 codecs (RFC 9112), engines that write to a connection and read no clock.

- `server_connection.py`, `client_connection.py`: the two codecs, the reading halves
- `server_stream.py`, `client_stream.py`: their streams, the writing halves
- `settings.py`, `stats.py`: Http1ProtocolOptions as plain objects; `http1.*` counters
- `request_target.py`: forms of the request target, validity of authorities
- `connection_options.py`: what the Connection field nominates, upgrades that are ignored
- `status_line.py`: status lines; `framing.py`: how a message that is written ends
"""
