"""`OutlierDetection`: settings, with Envoy's defaults."""

from __future__ import annotations

from outrider.config.view import View


class OutlierConfig:
    """Times in milliseconds, shares in per cent."""

    __slots__ = (
        "interval_ms", "base_ejection_ms", "max_ejection_ms", "max_ejection_jitter_ms", "max_ejection_percent",
        "consecutive_5xx", "enforcing_consecutive_5xx", "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure", "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure", "split_external_local", "success_rate_minimum_hosts",
        "success_rate_request_volume", "success_rate_stdev_factor", "enforcing_success_rate",
        "enforcing_local_origin_success_rate", "failure_percentage_threshold", "enforcing_failure_percentage",
        "enforcing_failure_percentage_local_origin", "failure_percentage_minimum_hosts",
        "failure_percentage_request_volume", "uneject_on_health_success", "always_eject_one_host",
    )

    def __init__(self) -> None:
        self.interval_ms: int = 10_000
        self.base_ejection_ms: int = 30_000
        self.max_ejection_ms: int = 300_000
        self.max_ejection_jitter_ms: int = 0
        self.max_ejection_percent: int = 10
        self.consecutive_5xx: int = 5
        self.enforcing_consecutive_5xx: int = 100
        self.consecutive_gateway_failure: int = 5
        self.enforcing_consecutive_gateway_failure: int = 0
        self.consecutive_local_origin_failure: int = 5
        self.enforcing_consecutive_local_origin_failure: int = 100
        # Local failures (no connection, timeouts) are counted apart from responses.
        self.split_external_local: bool = False
        self.success_rate_minimum_hosts: int = 5
        self.success_rate_request_volume: int = 100
        # Thousandths.
        self.success_rate_stdev_factor: int = 1900
        self.enforcing_success_rate: int = 100
        self.enforcing_local_origin_success_rate: int = 100
        self.failure_percentage_threshold: int = 85
        self.enforcing_failure_percentage: int = 0
        self.enforcing_failure_percentage_local_origin: int = 0
        self.failure_percentage_minimum_hosts: int = 5
        self.failure_percentage_request_volume: int = 50
        self.uneject_on_health_success: bool = True
        self.always_eject_one_host: bool = False


_INTEGERS = (
    "max_ejection_percent", "consecutive_5xx", "enforcing_consecutive_5xx", "consecutive_gateway_failure",
    "enforcing_consecutive_gateway_failure", "consecutive_local_origin_failure",
    "enforcing_consecutive_local_origin_failure", "success_rate_minimum_hosts", "success_rate_request_volume",
    "success_rate_stdev_factor", "enforcing_success_rate", "enforcing_local_origin_success_rate",
    "failure_percentage_threshold", "enforcing_failure_percentage", "enforcing_failure_percentage_local_origin",
    "failure_percentage_minimum_hosts", "failure_percentage_request_volume",
)


def read_outlier(view: View | None) -> OutlierConfig | None:
    """Raises ConfigError."""
    if view is None:
        return None
    config = OutlierConfig()
    for name in _INTEGERS:
        setattr(config, name, view.integer(name, getattr(config, name)))
    for field, attribute in (
        ("interval", "interval_ms"), ("base_ejection_time", "base_ejection_ms"),
        ("max_ejection_time_jitter", "max_ejection_jitter_ms"),
    ):
        given = view.millis(field)
        if given is not None:
            setattr(config, attribute, given)
    longest = view.millis("max_ejection_time")
    if longest is not None and longest < config.base_ejection_ms:
        raise view.error(
            "outlier detector's max_ejection_time cannot be smaller than base_ejection_time", "max_ejection_time"
        )
    config.max_ejection_ms = longest if longest is not None else max(300_000, config.base_ejection_ms)
    config.split_external_local = view.flag("split_external_local_origin_errors")
    config.uneject_on_health_success = view.flag("successful_active_health_check_uneject_host", True)
    config.always_eject_one_host = view.flag("always_eject_one_host")
    return config
