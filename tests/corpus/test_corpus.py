"""The corpus of real-world configurations, where it lies beside the checkout (../shared/corpus)."""

from __future__ import annotations

import pytest
from tools import corpus_report

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not (corpus_report.DEFAULT / "verdicts.json").is_file(), reason="no corpus beside the checkout"),
]

# Agreement may only grow.
FLOOR = 0.85


@pytest.fixture(scope="module")
def results() -> list[corpus_report.Result]:
    return corpus_report.run(corpus_report.DEFAULT.resolve())


def test_nothing_crashes(results: list[corpus_report.Result]) -> None:
    assert [entry["file"] for entry, verdict, _ in results if verdict == "crashed"] == []


def test_what_envoy_rejects_is_rejected(results: list[corpus_report.Result]) -> None:
    wrong = [
        entry["file"] for entry, verdict, _ in results if verdict == "ok" and corpus_report.expected(entry) != "ok"
    ]
    assert wrong == []


def test_agreement_does_not_fall(results: list[corpus_report.Result]) -> None:
    agree = sum(1 for entry, verdict, _ in results if verdict == corpus_report.expected(entry))
    assert agree / len(results) >= FLOOR
