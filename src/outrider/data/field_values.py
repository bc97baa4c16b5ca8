"""Field values that are lists (RFC 9110 section 5.6.1)."""

from __future__ import annotations


def has_token(value: bytes | None, token: bytes) -> bool:
    """Whether a comma-separated value holds `token` (lower-case)."""
    if value is None:
        return False
    if value == token:
        return True
    for part in value.lower().split(b","):
        if part.strip(b" \t") == token:
            return True
    return False
