"""Runtime: values that steer the proxy while it runs, as every process reads them.

Source: Envoy documentation, "Runtime configuration". Layers are stacked by `outrider.config.runtime_layers` in the main
process; here is the outcome, which workers hold a copy of. A reader keeps the one `Runtime` object and asks it by key.
"""

from __future__ import annotations

from typing import Final

HUNDRED: Final = 100
TEN_THOUSAND: Final = 10_000
MILLION: Final = 1_000_000
DENOMINATORS: Final[dict[str, int]] = {"HUNDRED": HUNDRED, "TEN_THOUSAND": TEN_THOUSAND, "MILLION": MILLION}


class RuntimeEntry:
    """One value in the forms it has: -1 (numerator, integer) or None where it has no such form."""

    __slots__ = ("raw", "integer", "number", "boolean", "numerator", "denominator")

    def __init__(self, raw: str) -> None:
        self.raw = raw
        self.integer: int = -1
        self.number: float | None = None
        self.boolean: bool | None = None
        self.numerator: int = -1
        self.denominator: int = HUNDRED

    def __repr__(self) -> str:
        return f"<RuntimeEntry {self.raw!r}>"


def make_entry(value: object, raw: str = "") -> RuntimeEntry:
    """The entry of a scalar, or of a FractionalPercent given as a dict. Raises ValueError for anything else."""
    if isinstance(value, bool):
        entry = RuntimeEntry(raw or ("true" if value else "false"))
        entry.boolean = value
    elif isinstance(value, (int, float)):
        entry = RuntimeEntry(raw or f"{value:g}")
        entry.number = float(value)
        if value >= 0 and int(value) == value:
            entry.integer = int(value)
    elif isinstance(value, str):
        entry = RuntimeEntry(raw or value)
    elif isinstance(value, dict):
        entry = RuntimeEntry(raw or struct_text(value))
        numerator = value.get("numerator", 0)
        denominator = value.get("denominator", "HUNDRED")
        if isinstance(numerator, (int, float)) and numerator >= 0 and isinstance(denominator, str):
            entry.numerator = int(numerator)
            entry.denominator = DENOMINATORS.get(denominator, HUNDRED)
    else:
        raise ValueError("Invalid runtime entry value")
    return entry


def struct_text(value: dict[str, object]) -> str:
    """A struct in protobuf's text form, which is how Envoy shows such an entry."""
    parts: list[str] = []
    for key in sorted(value):
        item = value[key]
        if isinstance(item, bool):
            text = f"bool_value: {'true' if item else 'false'}"
        elif isinstance(item, (int, float)):
            text = f"number_value: {item:g}"
        else:
            text = f'string_value: "{item}"'
        parts.append(f'fields {{\n  key: "{key}"\n  value {{\n    {text}\n  }}\n}}\n')
    return "".join(parts)


class Runtime:
    """The values in force. `replace` swaps them all at once; readers never see a mixture."""

    __slots__ = ("_entries", "generation")

    def __init__(self, entries: dict[str, RuntimeEntry] | None = None) -> None:
        self._entries: dict[str, RuntimeEntry] = entries if entries is not None else {}
        # Grows with each change: who derives something from runtime values may cache it by this number.
        self.generation: int = 0

    def replace(self, entries: dict[str, RuntimeEntry]) -> None:
        self._entries = entries
        self.generation += 1

    def entry(self, key: str) -> RuntimeEntry | None:
        return self._entries.get(key)

    def has(self, key: str) -> bool:
        return key in self._entries

    def get(self, key: str, default: str = "") -> str:
        """The value as text."""
        entry = self._entries.get(key)
        return default if entry is None else entry.raw

    def get_integer(self, key: str, default: int) -> int:
        """A whole number >= 0; the default where there is none."""
        entry = self._entries.get(key)
        return default if entry is None or entry.integer < 0 else entry.integer

    def get_number(self, key: str, default: float) -> float:
        entry = self._entries.get(key)
        if entry is None or entry.number is None:
            return default
        return entry.number

    def get_boolean(self, key: str, default: bool) -> bool:
        """A feature flag (RuntimeFeatureFlag, `envoy.reloadable_features.*`)."""
        entry = self._entries.get(key)
        if entry is None or entry.boolean is None:
            return default
        return entry.boolean

    def feature_enabled(self, key: str, default_percent: int, random_value: int) -> bool:
        """True for that share (0 to 100) of random values."""
        return random_value % 100 < min(self.get_integer(key, default_percent), 100)

    def fraction_enabled(self, key: str, numerator: int, denominator: int, random_value: int) -> bool:
        """RuntimeFractionalPercent: the entry is a FractionalPercent, or a whole number of percent."""
        entry = self._entries.get(key)
        if entry is not None:
            if entry.numerator >= 0:
                return random_value % entry.denominator < entry.numerator
            if entry.integer >= 0:
                return random_value % HUNDRED < entry.integer
        return random_value % denominator < numerator

    def __repr__(self) -> str:
        return f"<Runtime {len(self._entries)} entries>"


NO_RUNTIME: Final = Runtime()
"""A runtime without values, for objects built outside a server."""
