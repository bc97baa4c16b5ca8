"""What is wrong with a configuration: one error, or all that were found together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_SHOWN: Final = 100
"""How many faults a message shows; one bad template can break thousands of routes the same way."""


class ConfigError(Exception):
    """One fault of a configuration.

    `text` says what is wrong; `path` names the field
    (`static_resources.listeners[0].address`), `file` and `line` (from 1) the
    place, each where it is known. `str()` is one line for a person.
    """

    def __init__(
        self,
        text: str,
        path: str | None = None,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.path = path
        self.file = file
        self.line = line
        self.column = column

    @property
    def errors(self) -> Sequence[ConfigError]:
        """The single faults: this one, or those that a `ConfigErrors` holds."""
        return (self,)

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place = f"{place}:{self.line}" if place else f"line {self.line}"
            if self.column is not None:
                place = f"{place}:{self.column}"
        parts = [part for part in (place, self.path, self.text) if part]
        return ": ".join(parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigErrors(ConfigError):
    """Several faults, found in one go; `str()` gives one per line."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        if not errors:
            raise ValueError("ConfigErrors needs at least one error")
        flat = [single for error in errors for single in error.errors]
        first = flat[0]
        super().__init__(first.text, first.path, first.file, first.line, first.column)
        self._errors = tuple(flat)

    @property
    def errors(self) -> Sequence[ConfigError]:
        return self._errors

    def __str__(self) -> str:
        lines = [str(error) for error in self._errors[:_SHOWN]]
        if len(self._errors) > _SHOWN:
            lines.append(f"... and {len(self._errors) - _SHOWN} more")
        return "\n".join(lines)


def raise_all(errors: Sequence[ConfigError]) -> None:
    """Raise what was collected: nothing, the one error, or a `ConfigErrors`."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ConfigErrors(errors)
