"""Counters of jwt_authn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.stats.store import Scope


class JwtStats:
    __slots__ = (
        "allowed", "cors_preflight_bypassed", "denied", "jwks_fetch_success", "jwks_fetch_failed", "jwt_cache_hit",
        "jwt_cache_miss",
    )  # fmt: skip

    def __init__(self, scope: Scope, prefix: str) -> None:
        own = scope.scope("jwt_authn." + (prefix + "." if prefix and not prefix.endswith(".") else prefix))
        self.allowed = own.counter("allowed")
        self.cors_preflight_bypassed = own.counter("cors_preflight_bypassed")
        self.denied = own.counter("denied")
        self.jwks_fetch_success = own.counter("jwks_fetch_success")
        self.jwks_fetch_failed = own.counter("jwks_fetch_failed")
        self.jwt_cache_hit = own.counter("jwt_cache_hit")
        self.jwt_cache_miss = own.counter("jwt_cache_miss")
