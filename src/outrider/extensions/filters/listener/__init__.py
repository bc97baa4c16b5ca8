"""Listener filters: what a connection is, before its filter chain is chosen."""
