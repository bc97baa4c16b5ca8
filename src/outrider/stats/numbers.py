"""Numbers as Envoy's outputs write them; each output has a habit of its own."""

import math


def shortest(value: float) -> str:
    """The shortest text that reads back as the same number; no ".0" (`/stats` quantiles)."""
    if math.isnan(value):
        return "nan"
    text = repr(float(value))
    return text.removesuffix(".0")


def six_digits(value: float) -> str:
    """At most six significant digits (`/stats` bucket bounds)."""
    return f"{value:g}"


def fifteen_digits(value: float) -> str:
    """At most fifteen significant digits (`/stats?histogram_buckets=detailed`)."""
    return f"{value:.15g}"


def thirty_two_digits(value: float) -> str:
    """Up to 32 significant digits without exponent where that fits (Prometheus)."""
    return f"{value:.32g}"


def json_number(value: float) -> str:
    """The shorter of the fixed and the scientific shortest form; "null" for NaN (JSON)."""
    if math.isnan(value):
        return "null"
    if value == 0:
        return "0"
    digits, exponent = split_digits(value)
    sign = "-" if value < 0 else ""
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    scientific = f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent >= len(digits) - 1:
        # Whole numbers are written exactly: beyond 2**53 that is more than the shortest digits.
        fixed = sign + (digits + "0" * (exponent - len(digits) + 1) if exponent < 16 else str(int(abs(value))))
    elif exponent >= 0:
        fixed = f"{sign}{digits[: exponent + 1]}.{digits[exponent + 1 :]}"
    else:
        fixed = f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return scientific if len(scientific) < len(fixed) else fixed


def split_digits(value: float) -> tuple[str, int]:
    """The shortest significant digits of a number (not 0), and the power of ten of the first one."""
    mantissa, _, power = repr(abs(float(value))).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) + (len(whole) - 1 if whole != "0" else -(len(fraction) - len(fraction.lstrip("0"))) - 1)
    return digits.rstrip("0") or "0", exponent
