"""`envoy.config.core.v3.DataSource`: bytes written in the configuration, or named by it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.config.view import View


def read_data_source(view: View, limit: int = 0) -> bytes:
    """The bytes of a DataSource, read now; `limit` in bytes, 0 = none. Raises ConfigError with file and reason."""
    kind = view.which("specifier")
    if kind == "inline_string":
        data = view.text(kind).encode()
    elif kind == "inline_bytes":
        data = view.data(kind)
    elif kind == "environment_variable":
        name = view.text(kind)
        value = os.environ.get(name)
        if value is None:
            raise view.error(f"Environment variable doesn't exist: {name}", kind)
        data = os.fsencode(value)
    elif kind == "filename":
        path = view.text(kind)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise view.error(f"Invalid path: {path} ({error.strerror})", kind) from None
    else:
        raise view.error("one of filename, inline_bytes, inline_string, environment_variable is required")
    if limit and len(data) > limit:
        raise view.error(f"{len(data)} bytes are more than the {limit} allowed", kind)
    return data
