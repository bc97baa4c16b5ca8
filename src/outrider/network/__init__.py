"""Connections, network and listener filters, transport sockets, listeners. Knows nothing of HTTP."""
