"""What the reset of an upstream stream means for the response: flag and text."""

from __future__ import annotations

from typing import Final

from outrider.data.response_flag import (
    LOCAL_RESET,
    OVERLOAD_MANAGER,
    UPSTREAM_CONNECTION_FAILURE,
    UPSTREAM_CONNECTION_TERMINATION,
    UPSTREAM_OVERFLOW,
    UPSTREAM_PROTOCOL_ERROR,
    UPSTREAM_REMOTE_RESET,
)
from outrider.http.codec import (
    RESET_CONNECT_ERROR,
    RESET_CONNECTION_TERMINATION,
    RESET_CONNECTION_TIMEOUT,
    RESET_HTTP1_PREMATURE_UPSTREAM_HALF_CLOSE,
    RESET_LOCAL,
    RESET_LOCAL_CONNECTION_FAILURE,
    RESET_LOCAL_REFUSED_STREAM,
    RESET_OVERFLOW,
    RESET_OVERLOAD_MANAGER,
    RESET_PROTOCOL_ERROR,
    RESET_REASON_TEXT,
    RESET_REMOTE,
    RESET_REMOTE_CONNECTION_FAILURE,
    RESET_REMOTE_REFUSED_STREAM,
)

_FLAGS: Final[dict[int, int]] = {
    RESET_LOCAL: LOCAL_RESET,
    RESET_LOCAL_REFUSED_STREAM: LOCAL_RESET,
    RESET_REMOTE: UPSTREAM_REMOTE_RESET,
    RESET_REMOTE_REFUSED_STREAM: UPSTREAM_REMOTE_RESET,
    RESET_CONNECT_ERROR: UPSTREAM_REMOTE_RESET,
    RESET_LOCAL_CONNECTION_FAILURE: UPSTREAM_CONNECTION_FAILURE,
    RESET_REMOTE_CONNECTION_FAILURE: UPSTREAM_CONNECTION_FAILURE,
    RESET_CONNECTION_TIMEOUT: UPSTREAM_CONNECTION_FAILURE,
    RESET_CONNECTION_TERMINATION: UPSTREAM_CONNECTION_TERMINATION,
    RESET_OVERFLOW: UPSTREAM_OVERFLOW,
    RESET_PROTOCOL_ERROR: UPSTREAM_PROTOCOL_ERROR,
    RESET_HTTP1_PREMATURE_UPSTREAM_HALF_CLOSE: UPSTREAM_CONNECTION_TERMINATION,
    RESET_OVERLOAD_MANAGER: OVERLOAD_MANAGER,
}


def reset_flag(reason: int) -> int:
    """The response flag of a RESET_* reason."""
    return _FLAGS[reason]


def reset_body(reason: int, retried: bool) -> str:
    """Body of the local reply for a reset before the response. The transport's reason is for the log only."""
    which = "retried and the latest " if retried else ""
    return (
        f"upstream connect error or disconnect/reset before headers. {which}reset reason: {RESET_REASON_TEXT[reason]}"
    )


def without_spaces(text: str) -> str:
    """Response code details have no white space."""
    return "_".join(text.split(" "))


def reset_details(reason: int, transport_failure: str, response_started: bool) -> str:
    """Response code details of a reset."""
    text = RESET_REASON_TEXT[reason]
    if transport_failure:
        text += "|" + transport_failure
    when = "upstream_reset_after_response_started" if response_started else "upstream_reset_before_response_started"
    return without_spaces(f"{when}{{{text}}}")
