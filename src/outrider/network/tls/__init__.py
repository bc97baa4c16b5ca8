"""TLS transport sockets, client and server.

The engine is the OpenSSL that the `cryptography` package brings along, through its binding: the standard library's
`ssl` lacks what Envoy's fields need (several curves, signature algorithms, verification that accepts and reports, ALPN
per connection, group names, OCSP staples). `docs/tls.md` says what is honoured.

factory.py             UpstreamTlsContext and DownstreamTlsContext: the transport socket factories
settings.py            CommonTlsContext and CertificateValidationContext, read and checked
parameters.py          TlsParameters; cipher_suites.py: BoringSSL's cipher strings
secrets.py             secrets by name: of the bootstrap, and of files that are followed
data_source.py, certificates.py, ocsp_staple.py, key_log.py, san_matcher.py   the values in them
context.py             an SSL_CTX and what its connections share; certificate_choice.py: by server name
socket.py              one connection: the engine
peer_check.py          the peer's certificate, in the handshake: validation.py names and pins, spiffe.py, signature.py
callbacks.py           what OpenSSL calls
openssl.py             the binding, its error queue; error_text.py: errors in BoringSSL's words
info.py                what logs and headers read of a connection
stats.py               ssl.*
"""
