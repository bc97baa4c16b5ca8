"""Name resolution: `resolver` is the interface, `cares` asks name servers with c-ares, `system` calls getaddrinfo."""
