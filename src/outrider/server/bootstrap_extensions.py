"""Extensions of the whole server (`bootstrap_extensions`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.network.internal_connection import set_pipe_bytes
from outrider.registry import ExtensionRegistry

if TYPE_CHECKING:
    from outrider.config.view import View

# Factories take `(config, None)`; what they give is kept as long as the server lives.
BOOTSTRAP_EXTENSIONS: ExtensionRegistry[object] = ExtensionRegistry("envoy.bootstrap")


@BOOTSTRAP_EXTENSIONS.register(
    "envoy.bootstrap.internal_listener", "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
)
def create_internal_listener(config: View, context: object) -> object:
    """Internal listeners work without it, too."""
    set_pipe_bytes(config.integer("buffer_size_kb") * 1024)
    return config
