"""Playbooks for the router: a filter manager, a cluster and pools without sockets, and time moved by hand."""
