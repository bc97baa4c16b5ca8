"""TLS transport sockets over OpenSSL (the `ssl` module), as engines between memory buffers.

`factory` is what configuration makes; `settings` reads the messages; `context` builds OpenSSL contexts; `socket` runs
one connection; `validation`, `san_matcher` judge peer certificates; `certificates` loads and checks key material; `errors`
puts failures into Envoy's words; `stats` counts.
"""
