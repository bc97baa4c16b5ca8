"""What a failed call says: google.rpc.Status, from `grpc-status-details-bin` or from code and message.

Source: Envoy documentation, `GrpcJsonTranscoder.convert_grpc_status`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from google.protobuf.message import DecodeError

from outrider.config import api
from outrider.data.header_map import HeaderMap
from outrider.data.header_names import GRPC_MESSAGE

STATUS_DETAILS: Final = b"grpc-status-details-bin"


def rpc_status(trailers: HeaderMap, status: int) -> bytes:
    """A serialised google.rpc.Status: the upstream's own, or one made of its code and message."""
    details = trailers.get(STATUS_DETAILS)
    if details is not None:
        found: Any = api.new("google.rpc.Status")
        try:
            raw = base64.b64decode(details + b"=" * (-len(details) % 4), validate=True)
            found.ParseFromString(raw)
        except (binascii.Error, ValueError, DecodeError):
            pass
        else:
            if raw:
                return raw
    made: Any = api.new("google.rpc.Status")
    made.code = status
    made.message = unquote_to_bytes(trailers.get(GRPC_MESSAGE) or b"").decode("utf-8", "replace")
    return bytes(made.SerializeToString())
