"""Values as JSON text, byte for byte as Envoy writes them."""

from __future__ import annotations

import json
import math
from typing import Final

import orjson

from outrider.access_log.operation import number_text

NULL: Final = b"null"


def quoted(value: bytes) -> bytes:
    """A JSON string. Where the bytes are not UTF-8, every octet above ASCII is written as `\\u00XX`."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return json.dumps(value.decode("latin-1")).encode()
    return orjson.dumps(text)


def double_text(number: float) -> bytes:
    """The shortest text that reads back the same, in fixed or scientific form, fixed where both are as long."""
    if not math.isfinite(number):
        return NULL
    digits = repr(abs(number))
    mantissa, _, power = digits.partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    significant = (whole + fraction).lstrip("0")
    exponent = int(power or "0") + len(whole) - 1
    if whole == "0" and significant:
        exponent -= len(fraction) - len(fraction.lstrip("0")) + 1
    significant = significant.rstrip("0") or "0"
    if significant == "0":
        exponent = 0
    scientific = significant[0] + ("." + significant[1:] if len(significant) > 1 else "")
    scientific += f"e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent >= len(significant) - 1:
        fixed = str(int(abs(number)))
    elif exponent >= 0:
        fixed = significant[: exponent + 1] + "." + significant[exponent + 1 :]
    else:
        fixed = "0." + "0" * (-exponent - 1) + significant
    sign = "-" if str(number).startswith("-") else ""
    return (sign + (scientific if len(scientific) < len(fixed) else fixed)).encode()


def json_text(value: object) -> bytes:
    """Any value that an operator gives; members of objects are in the order of their keys."""
    if value is None:
        return NULL
    if isinstance(value, bytes):
        return quoted(value)
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return number_text(value)
    if isinstance(value, str):
        return quoted(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, float):
        return double_text(value)
    if isinstance(value, dict):
        members = [quoted_key(key) + b":" + json_text(value[key]) for key in sorted(value)]
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join([json_text(item) for item in value]) + b"]"
    return quoted(str(value).encode("utf-8", "surrogateescape"))


def quoted_key(key: object) -> bytes:
    return quoted(str(key).encode("utf-8", "surrogateescape"))
