"""The worker's part of outlier detection: note what happened on each host, hand it over once per loop turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from outrider.upstream.control_link import ControlLink, OutlierReport
from outrider.upstream.host import OutlierMonitor

if TYPE_CHECKING:
    from outrider.event.dispatcher import Dispatcher

# Kinds of reports beside the results of upstream.host: a response's status, a degraded response.
REPORT_HTTP_CODE: Final = 100
REPORT_DEGRADED: Final = 101


class OutlierReporter:
    """Of one cluster."""

    __slots__ = ("cluster", "link", "dispatcher", "batch")

    def __init__(self, cluster: str, link: ControlLink, dispatcher: Dispatcher) -> None:
        self.cluster = cluster
        self.link = link
        self.dispatcher = dispatcher
        self.batch: list[OutlierReport] = []

    def add(self, key: str, kind: int, value: int) -> None:
        if not self.batch:
            self.dispatcher.post(self.flush)
        self.batch.append((key, kind, value))

    def flush(self) -> None:
        batch = self.batch
        if batch:
            self.batch = []
            self.link.report_outliers(self.cluster, batch)


class ReportingMonitor(OutlierMonitor):
    """A host's monitor in a worker."""

    def __init__(self, key: str, reporter: OutlierReporter) -> None:
        self.active = True
        self.key = key
        self.reporter = reporter

    def put_http_response_code(self, code: int) -> None:
        self.reporter.add(self.key, REPORT_HTTP_CODE, code)

    def put_result(self, result: int, code: int = 0) -> None:
        self.reporter.add(self.key, result, code)

    def put_degraded(self) -> None:
        self.reporter.add(self.key, REPORT_DEGRADED, 0)
