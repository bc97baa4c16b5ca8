"""What a worker tells the control half."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

# One thing that happened on a host: (host key, kind, value), see upstream.outlier_reporter.
OutlierReport = tuple[str, int, int]


@mypyc_attr(allow_interpreted_subclasses=True)
class ControlLink:
    """Implemented by the channel to the main process, or by the control half itself when both share one process.

    This base class is for tests and for clusters without control: it drops everything.
    """

    def report_outliers(self, cluster: str, reports: list[OutlierReport]) -> None:
        """What happened since the last loop turn, in order."""

    def immediate_health_check_fail(self, cluster: str, host_key: str) -> None:
        """A response had `x-envoy-immediate-health-check-fail`."""


NO_LINK = ControlLink()
