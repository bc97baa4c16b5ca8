"""A host as the control half knows it."""

from __future__ import annotations

from outrider.data.address import Address
from outrider.stats.metrics import Gauge
from outrider.upstream.config.endpoints import EndpointConfig
from outrider.upstream.host import coarse_health, health_flags_text
from outrider.upstream.hosts_update import HostSpec


class ControlHost:
    """Identity, attributes and health of one endpoint. Survives updates while its key stays."""

    __slots__ = (
        "key", "address", "addresses", "hostname", "weight", "priority", "locality", "metadata", "locality_metadata",
        "flags", "configured_flags", "hc_address", "hc_hostname", "hc_disabled", "healthy_gauge", "limit_row",
        "success_rate", "local_origin_success_rate", "first_check_done",
    )

    def __init__(self, key: str, address: Address) -> None:
        self.key = key
        self.address = address
        self.addresses: list[Address] = []
        self.hostname: str = ""
        self.weight: int = 1
        self.priority: int = 0
        self.locality: tuple[str, str, str] = ("", "", "")
        self.metadata: dict[str, dict[str, object]] = {}
        self.locality_metadata: dict[str, dict[str, object]] = {}
        # Health flags of upstream.host; `configured_flags` are those that `health_status` gave.
        self.flags: int = 0
        self.configured_flags: int = 0
        # Where health checks go, and the name they use.
        self.hc_address: Address = address
        self.hc_hostname: str = ""
        self.hc_disabled: bool = False
        # `endpoint.<address>.healthy`
        self.healthy_gauge: Gauge | None = None
        self.limit_row: int = -1
        # Of outlier detection, for the admin page; -1 = unknown.
        self.success_rate: float = -1.0
        self.local_origin_success_rate: float = -1.0
        # Whether any active check has been answered (or has failed) since the host appeared.
        self.first_check_done: bool = False

    def describe(self, config: EndpointConfig) -> None:
        """Take over what is configured, and keep the health that was found out."""
        self.hostname = config.hostname
        self.weight = config.weight
        self.priority = config.priority
        self.locality = config.locality
        self.metadata = config.metadata
        self.locality_metadata = config.locality_metadata
        self.flags = (self.flags & ~self.configured_flags) | config.health_flags
        self.configured_flags = config.health_flags
        self.hc_hostname = config.hc_hostname
        self.hc_disabled = config.hc_disabled

    def set_flag(self, flag: int) -> bool:
        """True when it was not set before."""
        had = self.flags & flag
        self.flags |= flag
        return not had

    def clear_flag(self, flag: int) -> bool:
        """True when it was set before."""
        had = self.flags & flag
        self.flags &= ~flag
        return bool(had)

    def has_flag(self, flag: int) -> bool:
        return bool(self.flags & flag)

    def health(self) -> int:
        return coarse_health(self.flags)

    def spec(self) -> HostSpec:
        """For the workers."""
        spec = HostSpec(self.address)
        spec.key = self.key
        spec.addresses = self.addresses
        spec.hostname = self.hostname
        spec.weight = self.weight
        spec.priority = self.priority
        spec.locality = self.locality
        spec.metadata = self.metadata
        spec.locality_metadata = self.locality_metadata
        spec.health_flags = self.flags
        spec.limit_row = self.limit_row
        return spec

    def __repr__(self) -> str:
        return f"<ControlHost {self.address.text} {health_flags_text(self.flags)}>"
