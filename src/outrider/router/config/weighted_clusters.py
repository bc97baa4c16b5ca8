"""Routes whose cluster depends on the request: `weighted_clusters` and `cluster_header`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.router.config.route_entry import RouteEntry

if TYPE_CHECKING:
    from outrider.config.runtime import Runtime
    from outrider.data.header_map import RequestHeaderMap
    from outrider.data.stream_info import StreamInfo
    from outrider.router.config.route import Route
    from outrider.router.config.route_match import RouteMatch
    from outrider.router.config.virtual_host import VirtualHost

# Clusters named by request headers whose routes are kept for the next request.
_MAX_KEPT: Final = 256


class ClusterHeaderRoute(RouteEntry):
    """The cluster is the value of a request header; resolved routes are kept for a limited number of names."""

    __slots__ = ("cluster_header", "kept")

    def __init__(self, virtual_host: VirtualHost, match: RouteMatch | None, cluster_header: bytes) -> None:
        super().__init__(virtual_host, match)
        self.cluster_header = cluster_header
        self.kept: dict[bytes, RouteEntry] = {}

    def select(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route:
        name = headers.get(self.cluster_header)
        if name is None:
            name = b""
        found = self.kept.get(name)
        if found is None:
            found = RouteEntry(self.virtual_host, self.match)
            found.assign(self)
            found.cluster_name = name.decode("latin-1")
            if len(self.kept) < _MAX_KEPT:
                self.kept[name] = found
        return found

    def describe_action(self) -> str:
        return f"cluster named by header {self.cluster_header.decode()!r}"


class WeightedClustersRoute(RouteEntry):
    """One of several clusters, by weight."""

    __slots__ = ("choices", "weights", "total", "runtime", "runtime_keys", "header_name", "use_hash_policy")

    def __init__(self, virtual_host: VirtualHost, match: RouteMatch | None) -> None:
        super().__init__(virtual_host, match)
        self.choices: list[RouteEntry] = []
        self.weights: list[int] = []
        self.total: int = 0
        self.runtime: Runtime | None = None
        # Runtime keys of the weights; empty without `runtime_key_prefix`.
        self.runtime_keys: list[str] = []
        # Header whose number takes the place of the random value; empty when not set.
        self.header_name: bytes = b""
        self.use_hash_policy: bool = False

    def select(self, headers: RequestHeaderMap, info: StreamInfo, random_value: int) -> Route | None:
        if self.header_name:
            text = headers.get(self.header_name)
            if text is not None and text.isdigit() and len(text) <= 20:
                number = int(text)
                if number < 1 << 64:
                    random_value = number
        elif self.use_hash_policy and self.hash_policy is not None:
            hashed = self.hash_policy.compute(headers, info)
            if hashed is not None:
                random_value = hashed
        weights = self.weights
        total = self.total
        if self.runtime_keys and self.runtime is not None:
            runtime = self.runtime
            current: list[int] = []
            total = 0
            for index, key in enumerate(self.runtime_keys):
                weight = runtime.get_integer(key, weights[index])
                current.append(weight)
                total += weight
            weights = current
            if total == 0:
                return None
        point = random_value % total
        place = 0
        for weight in weights:
            if point < weight:
                break
            point -= weight
            place += 1
        return self.choices[place].select(headers, info, random_value)

    def describe_action(self) -> str:
        shares = [f"{choice.cluster_name} {self.weights[i]}" for i, choice in enumerate(self.choices)]
        return f"weighted clusters {', '.join(shares)}"
