"""What load balancers may ask of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outrider.data.header_map import RequestHeaderMap
from outrider.router.retry_state import RetryState
from outrider.upstream.load_balancer_context import LoadBalancerContext
from outrider.upstream.priority_load import PriorityLoad

if TYPE_CHECKING:
    from outrider.upstream.host import Host


class Placement(LoadBalancerContext):
    """What load balancers ask of an attempt that follows another one."""

    __slots__ = ("retry", "headers")

    def __init__(self, retry: RetryState | None, headers: RequestHeaderMap) -> None:
        self.retry: RetryState | None = retry
        self.headers = headers

    def request_headers(self) -> RequestHeaderMap | None:
        return self.headers

    def host_selection_retry_count(self) -> int:
        return 0 if self.retry is None else self.retry.policy.host_selection_max_attempts

    def should_select_another_host(self, host: Host) -> bool:
        return self.retry is not None and self.retry.should_select_another_host(host)

    def determine_priority_load(self, load: PriorityLoad) -> PriorityLoad:
        retry = self.retry
        if retry is None or retry.retry_priority is None:
            return load
        return retry.retry_priority.determine_priority_load(load)
