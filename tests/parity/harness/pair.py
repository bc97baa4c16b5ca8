"""Both proxies of a group; runs a case on both at once and compares."""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.normal import grouped, printable
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.http1_message import status_codes
from tests.support.proxy_process import AdminAnswer, ProxyFailed
from tests.support.raw_client import Transcript

T = TypeVar("T")
Report = dict[str, str]

# How long counters and logs may take to follow the traffic.
_SETTLE_SECONDS = 1.5


class Observation:
    """What one side did with a case."""

    __slots__ = ("transcript", "report", "codes", "changes")

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.report: Report = {}
        self.codes: list[int] = []
        self.changes: dict[str, int] = {}


class Pair:
    """`start` both sides, `check` cases, `stop`."""

    def __init__(self, config: SideConfig, folder: Path, kinds: Sequence[str]) -> None:
        self.sides = [Side(kind, config, folder / kind) for kind in kinds]
        self._threads = ThreadPoolExecutor(len(self.sides))
        self.failed: list[str] = []

    def start(self) -> None:
        self._each(Side.start)

    def stop(self) -> None:
        self._each(Side.stop)
        self._threads.shutdown()

    @property
    def envoy(self) -> Side:
        return self.sides[0]

    def check(self, case: Case) -> None:
        self._each(Side.mark)
        observations = [Observation() for _ in self.sides]

        def run(side: Side) -> Transcript:
            return side.run(case)

        for observation, transcript in zip(observations, self._each(run), strict=True):
            observation.transcript = transcript
        if case.settle:
            time.sleep(case.settle)
        self._each(lambda side: self._wait_quiet(side, case, observations[self.sides.index(side)].transcript))
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            self._each(lambda side: self._observe(side, case, observations[self.sides.index(side)]))
            settled = self._sensible(case, observations[0]) == ""
            if settled and all(other.report == observations[0].report for other in observations[1:]):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if os.environ.get("OUTRIDER_PARITY_SHOW"):
            print("\n" + "\n".join(f"--- {part}\n{text}" for part, text in observations[0].report.items()))
        nonsense = self._sensible(case, observations[0])
        if nonsense:
            pytest.fail(f"the case makes no sense with Envoy: {nonsense}\n{_text(observations[0].report)}", pytrace=False)
        for other in observations[1:]:
            self._compare(case, observations[0], other)

    def admin(self, path: str, method: str = "GET") -> list[AdminAnswer]:
        """Envoy's answer, then Outrider's."""

        def ask(side: Side) -> AdminAnswer:
            assert side.process is not None
            return side.process.admin(path, method)

        return self._each(ask)

    def same(self, texts: Sequence[str], what: str, in_any_order: bool = False) -> None:
        """Fails with a diff unless the texts (one a side, normalised here) are equal, or have equal sets of lines."""
        normal = [side.normalizer()(text) for side, text in zip(self.sides, texts, strict=True)]
        if in_any_order:
            normal = ["\n".join(sorted(text.splitlines())) for text in normal]
        for other in normal[1:]:
            if other != normal[0]:
                pytest.fail(_diff({what: normal[0]}, {what: other}), pytrace=False)

    def _each(self, work: Callable[[Side], T]) -> list[T]:
        futures = [self._threads.submit(work, side) for side in self.sides]
        wait(futures)
        return [future.result() for future in futures]

    def _wait_quiet(self, side: Side, case: Case, transcript: Transcript) -> None:
        wanted = case.logs
        if wanted is None:
            wanted = sum(code >= 200 or code == 101 for code in status_codes(transcript.received, case.to_head))
        wait_for(lambda: len(side.new_log_lines()) >= wanted, _SETTLE_SECONDS)
        if not case.leaves_open:
            wait_for(side.is_quiet, _SETTLE_SECONDS)

    def _observe(self, side: Side, case: Case, observation: Observation) -> None:
        transcript = observation.transcript
        normal = side.normalizer()
        report: Report = {}
        if case.response:
            end = transcript.end if case.to_end or transcript.end != "open" else "open"
            report["response"] = grouped(normal(printable(transcript.received), case.replace)) + f"\n[{end}]"
        if case.upstream:
            requests: list[str] = []
            for upstream in side.upstreams.values():
                for record in upstream.records():
                    connection = "new connection" if record.fresh else "reused connection"
                    extra = f" sni={record.server_name} subject={record.client_subject}" if record.server_name else ""
                    text = grouped(normal(printable(record.raw), case.replace))
                    requests.append(f"[{record.label}: {connection}{extra}]\n{text}")
            report["upstream received"] = "\n".join(sorted(requests) if case.upstream_sorted else requests)
        for server in side.grpc.values():
            report[f"gRPC server {server.name}"] = normal(server.report(), case.replace)
        if case.log:
            report["access log"] = "\n".join(normal(line, case.replace) for line in side.new_log_lines())
        changes = side.changed_stats()
        observation.changes = {normal(name): value for name, value in changes.items()}
        if case.stats:
            ignored = [re.compile(pattern) for pattern in case.ignore_stats]
            lines = [
                f"{name}: {value:+d}" for name, value in sorted(observation.changes.items())
                if not any(pattern.search(name) for pattern in ignored)
            ]
            report["stats"] = "\n".join(lines)
        observation.codes = status_codes(transcript.received, case.to_head)
        observation.report = report

    def _sensible(self, case: Case, envoy: Observation) -> str:
        """Empty = Envoy does what the case says."""
        if case.status is not None:
            wanted = [case.status] * max(case.responses, 1) if isinstance(case.status, int) else list(case.status)
            if envoy.codes != wanted:
                return f"status {envoy.codes}, expected {wanted}"
        for name in case.expect_stats:
            if name not in envoy.changes:
                return f"{name} did not change"
        whole = _text(envoy.report)
        for text in case.expect:
            if text not in whole:
                return f"{text!r} is not there"
        return ""

    def _compare(self, case: Case, envoy: Observation, ours: Observation) -> None:
        if envoy.report != ours.report:
            pytest.fail(_diff(envoy.report, ours.report), pytrace=False)
        if case.time_within is not None:
            difference = abs(envoy.transcript.elapsed - ours.transcript.elapsed)
            if difference > case.time_within:
                pytest.fail(
                    f"Envoy took {envoy.transcript.elapsed:.3f} s, Outrider {ours.transcript.elapsed:.3f} s", pytrace=False
                )


def _text(report: Report) -> str:
    return "\n".join(f"--- {part}\n{text}" for part, text in report.items())


def _diff(envoy: Report, ours: Report) -> str:
    parts: list[str] = []
    for part, expected in envoy.items():
        found = ours.get(part, "")
        if expected == found:
            continue
        lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "Envoy", "Outrider", lineterm="", n=40)
        parts.append(f"=== {part}\n" + "\n".join(lines))
    return "\n".join(parts)


def started(config: SideConfig, folder: Path, kinds: Sequence[str]) -> Pair:
    """A running pair. Raises ProxyFailed when a side does not come up (nothing is left running)."""
    pair = Pair(config, folder, kinds)
    try:
        pair.start()
    except ProxyFailed:
        pair.stop()
        raise
    except BaseException:
        pair.stop()
        raise
    return pair
