"""The plot of a run: CPU per request relative to Envoy's, one bar a scenario, with the goals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.scenarios import NO_GOAL, SCENARIOS


def plot(report: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Write a PNG. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [each for each in SCENARIOS if {"outrider", "envoy"} <= set(report.get(each.name, {}))]
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(shown) + 1.4), dpi=110)
    places = list(range(len(shown)))[::-1]
    for offset, who, colour in ((0.2, "outrider", "#2f6f4f"), (-0.2, "nginx", "#b8b8b8")):
        widths = [ratio(report[each.name], who) for each in shown]
        axes.barh([place + offset for place in places], widths, 0.38, label=who, color=colour)
        for place, width in zip(places, widths, strict=True):
            if width:
                axes.text(width + 0.01, place + offset, f"{width:.2f}", va="center", fontsize=7)
    marks: Any = [(each.goal, place) for each, place in zip(shown, places, strict=True) if each.goal != NO_GOAL]
    axes.plot([goal for goal, _ in marks], [place for _, place in marks], "|", ms=16, color="#c0392b", label="goal")
    axes.axvline(1.0, color="black", lw=1)
    axes.text(1.0, len(shown) - 0.35, "Envoy 1.40 = 1", ha="center", fontsize=8)
    axes.set_yticks(places, [each.name for each in shown], fontsize=8)
    axes.set_xlabel("CPU per request, relative to Envoy in the same run (less is better)", fontsize=8)
    axes.legend(loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def ratio(row: dict[str, dict[str, float]], who: str) -> float:
    return row[who]["cpu_us"] / row["envoy"]["cpu_us"] if who in row else 0.0
