"""Values of dynamic metadata (what JSON can hold) as text."""

from __future__ import annotations

import json


def plain_text(value: object) -> str:
    """A string as it is, whole numbers without a fraction, the rest as JSON without spaces."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"))
