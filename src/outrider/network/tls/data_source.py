"""`envoy.config.core.v3.DataSource`: bytes from a file, the configuration itself, or the environment."""

from __future__ import annotations

import os
from typing import Final

from outrider.config.view import View

INLINE: Final = "<inline>"


class LoadedData:
    """Contents, and the name to use for them in messages."""

    __slots__ = ("content", "name")

    def __init__(self, content: bytes, name: str) -> None:
        self.content = content
        self.name = name


def read_data_source(view: View | None, allow_empty: bool = False) -> LoadedData | None:
    """None where it is not set. Raises ConfigError for what cannot be read, and for empty content."""
    if view is None:
        return None
    kind = view.which("specifier")
    if kind == "filename":
        name = view.text("filename")
        # Watching for changes belongs to secrets that are served; this reads once, as Envoy does without a watch.
        try:
            with open(name, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            raise view.error(f"Invalid path: {name}", "filename") from None
        except OSError as error:
            raise view.error(f"unable to read file: {name} ({error.strerror})", "filename") from None
        if not content and not allow_empty:
            raise view.error(f"file {name} is empty", "filename")
        return LoadedData(content, name)
    if kind == "inline_bytes":
        content = view.data("inline_bytes")
    elif kind == "inline_string":
        content = view.text("inline_string").encode()
    elif kind == "environment_variable":
        variable = view.text("environment_variable")
        value = os.environ.get(variable)
        if value is None:
            raise view.error(f"Environment variable doesn't exist: {variable}", "environment_variable")
        content = value.encode()
    else:
        content = b""
    if not content and not allow_empty:
        raise view.error("DataSource cannot be empty")
    return LoadedData(content, INLINE)
