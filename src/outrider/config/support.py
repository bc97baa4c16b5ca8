"""What is done about fields that are set but that this version does not honour."""

from __future__ import annotations

import logging
from typing import Final, Literal

from outrider.config.errors import ConfigError, ConfigErrors
from outrider.config.view import View

_log: Final = logging.getLogger("outrider.config")


class SupportPolicy:
    """Refuses unread fields (`reject`), or logs one warning for each (`warn`, from `--unsupported=warn`)."""

    __slots__ = ("mode",)

    def __init__(self, mode: Literal["reject", "warn"] = "reject") -> None:
        self.mode = mode

    def check(self, view: View) -> None:
        """To be called for a top-level resource when all factories have read it.

        Raises ConfigErrors with every field that is set and was not read.
        """
        errors = []
        for path in view.unread():
            file, line = view.place(path)
            errors.append(
                ConfigError(f"field '{path}' is set but not supported by this version of outrider", None, file, line)
            )
        if not errors:
            return
        if self.mode == "reject":
            raise ConfigErrors(errors)
        for error in errors:
            _log.warning("%s", error)
