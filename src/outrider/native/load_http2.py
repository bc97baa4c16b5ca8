"""The HTTP/2 session, where its extension is built; there is no fallback, configuration that needs it is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.native.http2 import Http2Session, OutStream

    AVAILABLE: bool
else:
    try:
        if os.environ.get("OUTRIDER_NATIVE") == "0":
            raise ImportError
        from outrider.native.http2 import Http2Session, OutStream

        AVAILABLE = True
    except ImportError:
        Http2Session = OutStream = object
        AVAILABLE = False

__all__ = ["AVAILABLE", "Http2Session", "OutStream"]
