"""CPU per request of Outrider, the real Envoy and nginx, in turn, in one run; start-up and memory; a plot.

    python -m benchmarks.bench [--seconds 3] [--rounds 3] [--only small,rich] [--proxies outrider,envoy,nginx]

Only ratios count: machines differ and are shared. CPU is user + system time of the whole process tree, read from /proc
before and after each load; load generators (wrk, h2load) and the upstream (nginx) are not counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import footprint
from benchmarks.proxies import PROXIES, Proxy, find_envoy
from benchmarks.scenarios import NO_GOAL, SCENARIOS, Scenario
from benchmarks.upstream import Upstream

RESULTS = Path(__file__).resolve().parent / "results"
Row = dict[str, dict[str, float]]
FOOTPRINT = "footprint"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="loads for each proxy and scenario; the median counts")
    parser.add_argument("--only", default="", help="scenarios, comma-separated; 'footprint': start-up and memory")
    parser.add_argument("--proxies", default="outrider,envoy,nginx")
    parser.add_argument("--json", default=str(RESULTS / "latest.json"))
    parser.add_argument("--no-plot", action="store_true", help="no PNG beside the results")
    options = parser.parse_args()
    names = [name for name in options.proxies.split(",") if name]
    if "envoy" in names and find_envoy() is None:
        print("bench: the real Envoy is not installed (tools/setup.sh test); leaving it out", file=sys.stderr)
        names.remove("envoy")
    only = [name for name in options.only.split(",") if name]
    report: dict[str, Row] = {}
    notes: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as folder, Upstream(Path(folder)) as upstream:
        for scenario in SCENARIOS:
            if only and scenario.name not in only:
                continue
            if shutil.which(scenario.load.needs or "true") is None:
                print(f"{scenario.name:<20} left out: {scenario.load.needs} is not installed (tools/setup.sh bench)")
                continue
            report[scenario.name] = measure(scenario, names, upstream, options.seconds, options.rounds)
            print_row(scenario, report[scenario.name])
        if not only or FOOTPRINT in only:
            notes = footprint.measure([name for name in names if name != "nginx"], upstream)
            footprint.show(notes)
    ratios = [ratio for name, row in report.items() if (ratio := ratio_of(row)) > 0]
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios)) if ratios else 0.0
    if ratios:
        print(f"\ngeometric mean of CPU per request, outrider / envoy, {len(ratios)} scenarios: {mean:.2f}")
    failed = [f"{name}/{proxy}" for name, row in report.items() for proxy, cell in row.items() if cell["errors"]]
    if failed:
        print("errors in: " + ", ".join(failed))
    out = Path(options.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    whole = {"scenarios": report, "footprint": notes, "geometric_mean": round(mean, 3)}
    out.write_text(json.dumps(whole, indent=1) + "\n")
    if not options.no_plot and ratios:
        draw(report, out.with_suffix(".png"))
    return 1 if failed else 0


def draw(report: dict[str, Row], path: Path) -> None:
    try:
        from benchmarks.plot import plot
    except ImportError:
        print("bench: no plot, matplotlib is not installed (tools/setup.sh bench)", file=sys.stderr)
        return
    plot(report, path)


def ratio_of(row: Row) -> float:
    """Outrider's CPU over Envoy's; 0 where one of them was not measured."""
    if {"outrider", "envoy"} <= set(row):
        return row["outrider"]["cpu_us"] / row["envoy"]["cpu_us"]
    return 0.0


def measure(scenario: Scenario, names: list[str], upstream: Upstream, seconds: float, rounds: int) -> Row:
    """Median of the rounds for each proxy; the proxies take turns within a round."""
    proxies: dict[str, Proxy] = {}
    rows: dict[str, list[dict[str, float]]] = {}
    try:
        for name in names:
            proxy = PROXIES[name](scenario, upstream)
            if not proxy.supported():
                continue
            try:
                proxy.start()
            except OSError as error:
                proxy.stop()
                print(f"{scenario.name:<20} {name} left out: {error}")
                continue
            proxies[name] = proxy
            rows[name] = []
        for proxy in proxies.values():
            scenario.load.run(proxy.port, min(1.0, seconds))
        for _ in range(rounds):
            for name, proxy in proxies.items():
                before = proxy.cpu_seconds()
                result = scenario.load.run(proxy.port, seconds)
                time.sleep(0.05)
                spent = proxy.cpu_seconds() - before
                result["cpu_us"] = spent * 1e6 / max(result["units"], 1e-9)
                result["pss_mib"] = proxy.pss_mib()
                rows[name].append(result)
    finally:
        for proxy in proxies.values():
            proxy.stop()
    return {name: summary(cells) for name, cells in rows.items()}


def summary(cells: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds; the sum of the errors."""
    found = {key: round(statistics.median(row[key] for row in cells), 3) for key in cells[0]}
    found["errors"] = sum(row["errors"] for row in cells)
    return found


def print_row(scenario: Scenario, row: Row) -> None:
    line = f"{scenario.name:<20}"
    for name, cell in row.items():
        line += (
            f" {name} {cell['cpu_us']:7.1f} us/{scenario.unit} {cell['rps']:6.0f}/s p50 {cell['p50_ms']:5.2f}"
            f" p99 {cell['p99_ms']:5.2f} ms pss {cell['pss_mib']:5.1f} |"
        )
    ratio = ratio_of(row)
    if ratio:
        line += f" ratio {ratio:.2f}" + (f" (goal {scenario.goal})" if scenario.goal != NO_GOAL else "")
    print(line, flush=True)


if __name__ == "__main__":
    os.nice(0)
    sys.exit(main())
