"""The HTTP/1 parser and serialiser in use: the extensions where they are built, else the fallbacks.

OUTRIDER_NATIVE=0 in the environment chooses the fallbacks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.native.http1 import Http1Parser, intern_name
    from outrider.native.http1_writer import encode_chunk, encode_head, encode_request, uuid_text

    IS_NATIVE: bool
else:
    try:
        if os.environ.get("OUTRIDER_NATIVE") == "0":
            raise ImportError
        from outrider.native.http1 import Http1Parser, intern_name
        from outrider.native.http1_writer import encode_chunk, encode_head, encode_request, uuid_text

        IS_NATIVE = True
    except ImportError:
        from outrider.native.http1_fallback import Http1Parser, intern_name
        from outrider.native.http1_writer_fallback import encode_chunk, encode_head, encode_request, uuid_text

        IS_NATIVE = False

__all__ = ["IS_NATIVE", "Http1Parser", "encode_chunk", "encode_head", "encode_request", "intern_name", "uuid_text"]
