"""The global rate limit service: `envoy.service.ratelimit.v3.RateLimitService`.

Source: Envoy documentation, "Rate limit service"; Envoy's `RateLimit::GrpcClientImpl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import DecodeError
from mypy_extensions import mypyc_attr

from outrider.config import api
from outrider.config.struct import struct_to_dict
from outrider.data.stream_info import StreamInfo
from outrider.grpc.client import GrpcCall, GrpcUnaryCallbacks
from outrider.grpc.factory import grpc_client

if TYPE_CHECKING:
    from outrider.config.view import View
    from outrider.factory_context import FactoryContext
    from outrider.router.rate_limit_actions import Descriptor

SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
METHOD: Final = "ShouldRateLimit"
DEFAULT_TIMEOUT_MS: Final = 20

# Verdicts.
OK: Final = 0
OVER_LIMIT: Final = 1
ERROR: Final = 2

_OVER_LIMIT_CODE: Final = 2
_UNIT_SECONDS: Final = {
    1: 1, 2: 60, 3: 3600, 4: 86400, 5: 604800, 6: 2592000, 7: 31536000,
}  # fmt: skip


class LimitStatus:
    """What the service says of one descriptor that has a limit."""

    __slots__ = ("requests", "window_s", "name", "remaining", "reset_s", "index")

    def __init__(self, index: int, requests: int, window_s: int, name: str, remaining: int, reset_s: int) -> None:
        # Which descriptor.
        self.index = index
        self.requests = requests
        # 0: not said.
        self.window_s = window_s
        self.name = name
        self.remaining = remaining
        self.reset_s = reset_s


class LimitAnswer:
    """The answer to one request."""

    __slots__ = ("verdict", "statuses", "response_headers", "request_headers", "body", "metadata")

    def __init__(self, verdict: int) -> None:
        self.verdict = verdict
        self.statuses: list[LimitStatus] = []
        self.response_headers: list[tuple[bytes, bytes]] = []
        self.request_headers: list[tuple[bytes, bytes]] = []
        self.body: bytes = b""
        self.metadata: dict[str, object] = {}


@mypyc_attr(allow_interpreted_subclasses=True)
class LimitCallbacks:
    """Whoever asks."""

    def on_limit_answer(self, answer: LimitAnswer) -> None:
        """Told once, unless cancelled; perhaps before `ask` returns."""
        raise NotImplementedError

    def parent_stream_info(self) -> StreamInfo | None:
        return None


class _Call(GrpcUnaryCallbacks):
    def __init__(self, owner: LimitCallbacks) -> None:
        self.owner = owner

    def parent_stream_info(self) -> StreamInfo | None:
        return self.owner.parent_stream_info()

    def on_success(self, message: bytes) -> None:
        self.owner.on_limit_answer(read_answer(message))

    def on_failure(self, status: int, message: str) -> None:
        self.owner.on_limit_answer(LimitAnswer(ERROR))


class RateLimitService:
    """`rate_limit_service` of a filter."""

    __slots__ = ("client", "timeout_ms")

    def __init__(self, view: View, context: FactoryContext, timeout_ms: int | None) -> None:
        """From a RateLimitServiceConfig. Raises ConfigError."""
        if view.enum("transport_api_version") not in ("AUTO", "V3"):
            raise view.error("only V3 is spoken", "transport_api_version")
        service = view.message("grpc_service")
        if service is None:
            raise view.error("value is required", "grpc_service")
        # As in Envoy, the filter's own timeout counts, not the service's.
        service.accept("timeout")
        self.client = grpc_client(service, context)
        self.timeout_ms = DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms

    def ask(
        self, owner: LimitCallbacks, domain: str, descriptors: Sequence[Descriptor], hits: int = 0
    ) -> GrpcCall | None:
        """`hits`: how much the request counts for all descriptors, 0 = not said. None: the answer was told already."""
        request: Any = api.new("envoy.service.ratelimit.v3.RateLimitRequest")
        request.domain = domain
        request.hits_addend = hits
        for descriptor in descriptors:
            made = request.descriptors.add()
            for key, value in descriptor.entries:
                made.entries.add(key=key, value=value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
            if descriptor.hits >= 0:
                made.hits_addend.value = descriptor.hits
            if descriptor.limit is not None:
                made.limit.requests_per_unit = descriptor.limit[0]
                made.limit.unit = descriptor.limit[1]
        return self.client.send(SERVICE, METHOD, request.SerializeToString(), _Call(owner), self.timeout_ms)


def read_answer(data: bytes) -> LimitAnswer:
    """From a serialized RateLimitResponse."""
    response: Any = api.new("envoy.service.ratelimit.v3.RateLimitResponse")
    try:
        response.ParseFromString(data)
    except DecodeError:
        return LimitAnswer(ERROR)
    answer = LimitAnswer(OVER_LIMIT if response.overall_code == _OVER_LIMIT_CODE else OK)
    for index, status in enumerate(response.statuses):
        if not status.HasField("current_limit"):
            continue
        limit = status.current_limit
        window = _UNIT_SECONDS.get(limit.unit, 0) * (limit.unit_multiplier.value or 1)
        answer.statuses.append(
            LimitStatus(
                index, limit.requests_per_unit, window, limit.name, status.limit_remaining,
                status.duration_until_reset.seconds,
            )
        )  # fmt: skip
    answer.response_headers = [_field(header) for header in response.response_headers_to_add]
    answer.request_headers = [_field(header) for header in response.request_headers_to_add]
    answer.body = response.raw_body
    answer.metadata = struct_to_dict(response.dynamic_metadata)
    return answer


def _field(header: Any) -> tuple[bytes, bytes]:
    return header.key.lower().encode(), header.value.encode() or header.raw_value


def strictest(statuses: Sequence[LimitStatus]) -> LimitStatus | None:
    """The one with the least that is left, the first of equals."""
    found: LimitStatus | None = None
    for status in statuses:
        if found is None or status.remaining < found.remaining:
            found = status
    return found


def limit_headers(statuses: Sequence[LimitStatus]) -> list[tuple[bytes, bytes]]:
    """`x-ratelimit-*` as in the third draft of "RateLimit Fields for HTTP"; nothing where there is no limit."""
    least = strictest(statuses)
    if least is None:
        return []
    policy = str(least.requests)
    for status in statuses:
        if status.window_s:
            policy += f", {status.requests};w={status.window_s}"
            if status.name:
                policy += f';name="{status.name}"'
    return [
        (b"x-ratelimit-limit", policy.encode()),
        (b"x-ratelimit-remaining", b"%d" % least.remaining),
        (b"x-ratelimit-reset", b"%d" % least.reset_s),
    ]
