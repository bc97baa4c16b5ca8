"""envoy.filters.network.redis_proxy: commands of Redis clients, spread over clusters by their keys.

`resp` is the protocol, `commands` the table of what is known, `client` a connection to a server, `pool` the
connections of one cluster, `splitter` takes commands apart and answers together, `filter` is one client's connection,
`config` reads the configuration.
"""
