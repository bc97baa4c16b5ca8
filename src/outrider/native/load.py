"""The HTTP/1 parser in use: the extension where it is built, else the fallback.

OUTRIDER_NATIVE=0 in the environment chooses the fallback.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outrider.native.http1 import Http1Parser, encode_chunk, encode_head, encode_request, intern_name

    IS_NATIVE: bool
elif os.environ.get("OUTRIDER_NATIVE") == "0":
    from outrider.native.http1_fallback import Http1Parser, encode_chunk, encode_head, encode_request, intern_name

    IS_NATIVE = False
else:
    try:
        from outrider.native.http1 import Http1Parser, encode_chunk, encode_head, encode_request, intern_name

        IS_NATIVE = True
    except ImportError:
        from outrider.native.http1_fallback import Http1Parser, encode_chunk, encode_head, encode_request, intern_name

        IS_NATIVE = False

__all__ = ["IS_NATIVE", "Http1Parser", "encode_chunk", "encode_head", "encode_request", "intern_name"]
