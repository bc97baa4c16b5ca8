"""What a worker tells the control half."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from outrider.upstream.hosts_update import PlainAddress

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

    def report_hosts(self, cluster: str, added: list[tuple[str, PlainAddress, str]], dropped: list[str]) -> None:
        """Hosts (key, address, hostname) that the worker has made on demand, and keys of those it has dropped."""


NO_LINK = ControlLink()
