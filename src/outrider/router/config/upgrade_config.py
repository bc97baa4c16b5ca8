"""Upgrade settings of a route."""

from __future__ import annotations


class ConnectConfig:
    """CONNECT (and POST, with `allow_post`) is terminated here: the payload goes upstream as raw TCP."""

    __slots__ = ("allow_post", "proxy_protocol_version")

    def __init__(self, allow_post: bool, proxy_protocol_version: int) -> None:
        self.allow_post = allow_post
        # 0: no PROXY header is sent; else 1 or 2.
        self.proxy_protocol_version = proxy_protocol_version
