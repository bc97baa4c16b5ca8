"""CPU per request of Outrider, the real Envoy and nginx, in turn, in one run.

    python -m benchmarks.bench [--seconds 3] [--rounds 3] [--only small,rich] [--proxies outrider,envoy,nginx]

Only ratios count: machines differ and are shared. CPU is user + system time of the whole process tree, read from /proc
before and after each load; the load generator (wrk) and the upstream (nginx) are not counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.proxies import PROXIES, Proxy, find_envoy
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.upstream import Upstream

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one load")
    parser.add_argument("--rounds", type=int, default=3, help="loads for each proxy and scenario; the median counts")
    parser.add_argument("--only", default="", help="scenarios, comma-separated")
    parser.add_argument("--proxies", default="outrider,envoy,nginx")
    parser.add_argument("--json", default=str(RESULTS / "latest.json"))
    options = parser.parse_args()
    names = [name for name in options.proxies.split(",") if name]
    if "envoy" in names and find_envoy() is None:
        print("bench: the real Envoy is not installed (tools/setup.sh test); leaving it out", file=sys.stderr)
        names.remove("envoy")
    wanted = [scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only.split(",")]
    report: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="outrider-bench-") as folder, Upstream(Path(folder)) as upstream:
        for scenario in wanted:
            report[scenario.name] = measure(scenario, names, upstream, Path(folder), options.seconds, options.rounds)
            print_row(scenario, report[scenario.name])
    both = [row for row in report.values() if {"outrider", "envoy"} <= set(row)]
    ratios = [row["outrider"]["cpu_us"] / row["envoy"]["cpu_us"] for row in both]
    if ratios:
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
        print(f"\ngeometric mean of CPU per request, outrider / envoy: {mean:.2f}")
    failed = [f"{name}/{proxy}" for name, row in report.items() for proxy, cell in row.items() if cell["errors"]]
    if failed:
        print("errors in: " + ", ".join(failed))
    out = Path(options.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1))
    return 1 if failed else 0


def measure(
    scenario: Scenario, names: list[str], upstream: Upstream, folder: Path, seconds: float, rounds: int
) -> dict[str, dict[str, float]]:
    """Median of the rounds for each proxy; the proxies take turns within a round."""
    proxies: dict[str, Proxy] = {}
    rows: dict[str, list[dict[str, float]]] = {}
    try:
        for name in names:
            proxy = PROXIES[name](scenario, upstream.port, folder)
            if proxy.supported():
                proxies[name] = proxy
                rows[name] = []
                proxy.start()
        for proxy in proxies.values():
            scenario.load(proxy.port, min(1.0, seconds))
        for _ in range(rounds):
            for name, proxy in proxies.items():
                before = proxy.cpu_seconds()
                result = scenario.load(proxy.port, seconds)
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
    found = {key: statistics.median(row[key] for row in cells) for key in cells[0]}
    found["errors"] = sum(row["errors"] for row in cells)
    return found


def print_row(scenario: Scenario, row: dict[str, dict[str, float]]) -> None:
    line = f"{scenario.name:<16}"
    for name, cell in row.items():
        line += (
            f" {name} {cell['cpu_us']:8.1f} us/{scenario.unit} {cell['rps']:8.0f}/s p50 {cell['p50_ms']:6.2f}"
            f" p99 {cell['p99_ms']:6.2f} ms pss {cell['pss_mib']:5.1f} |"
        )
    if {"outrider", "envoy"} <= set(row):
        line += f" ratio {row['outrider']['cpu_us'] / row['envoy']['cpu_us']:.2f} (goal {scenario.goal})"
    print(line, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.nice(0)
    sys.exit(main())
