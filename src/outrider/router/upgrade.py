"""Upgrades and CONNECT towards upstream: the payload waits until the upstream has agreed.

Source: Envoy documentation, "HTTP upgrades"; RFC 9110 sections 7.8 and 9.3.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.data.header_names import UPGRADE
from outrider.data.stream_info import HTTP11
from outrider.router import local_answer

if TYPE_CHECKING:
    from outrider.router.upstream_request import UpstreamRequest

# Why the request body is held back although there is a connection (`UpstreamRequest.pause`).
PAUSE_NONE: Final = 0
PAUSE_CONNECT: Final = 1
PAUSE_WEBSOCKET: Final = 2
PAUSE_UPGRADE: Final = 3


def hold_body(request: UpstreamRequest, headers: RequestHeaderMap, end_stream: bool) -> None:
    """The request is CONNECT or has an Upgrade field: nothing but its headers is sent for now."""
    if headers.method == b"CONNECT":
        request.pause = PAUSE_CONNECT
    elif headers.single[UPGRADE].lower() == b"websocket":
        request.pause = PAUSE_WEBSOCKET
        # The answer is waited for with the ordinary timeouts, although the request has no end.
        request.start_per_try_timers()
        if request.router.global_timeout_ms > 0:
            request.router.start_response_timer()
    elif not end_stream:
        request.pause = PAUSE_UPGRADE


def resume(request: UpstreamRequest, headers: ResponseHeaderMap, status: int) -> bool:
    """The answer has come. False when it was a refusal that has been passed on already."""
    if request.pause == PAUSE_CONNECT:
        if 200 <= status < 300:
            request.pause = PAUSE_NONE
            request.send_held()
        return True
    if status == 101 or request.info.protocol != HTTP11:
        if request.pause == PAUSE_WEBSOCKET:
            # An upgraded connection may live on.
            request.stop_per_try_timers()
            request.router.stop_response_timer()
        request.pause = PAUSE_NONE
        request.send_held()
        return True
    if status >= 400 or request.pause != PAUSE_WEBSOCKET:
        return True
    local_answer.websocket_refused(request.router, headers)
    return False
