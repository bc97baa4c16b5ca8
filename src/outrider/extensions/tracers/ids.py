"""Random ids of traces and spans."""

from __future__ import annotations

from random import getrandbits


def new_id(bits: int) -> str:
    """Lower-case hexadecimal, never all zero."""
    number = 0
    while number == 0:
        number = getrandbits(bits)
    return f"{number:0{bits // 4}x}"
