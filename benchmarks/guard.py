"""The regression guard: user-space instructions per request of the compiled proxy against a recorded budget.

    python -m benchmarks.guard [--record]

Instructions do not depend on how busy the machine is. `perf` counts them where the processor's counters can be read,
else valgrind's callgrind does; without either, or where nothing is compiled, the guard says so and passes.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks.replay import Bench, choose_counter

BUDGET = Path(__file__).resolve().parent / "budget.json"
TOLERANCE = 0.08


def reason_to_skip() -> str:
    import outrider.network.connection as hot
    from outrider.native import load_sockets

    if str(hot.__file__).endswith(".py") or not load_sockets.AVAILABLE:
        return "Outrider is not compiled here"
    recorded = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    here = f"{platform.machine()} Python {sys.version_info.major}.{sys.version_info.minor}"
    if recorded and recorded["platform"] != here:
        return f"the budget is for {recorded['platform']}, this is {here}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="make what is measured now the budget")
    options = parser.parse_args()
    reason = "" if options.record else reason_to_skip()
    if reason:
        print(f"guard: skipped: {reason}")
        return 0
    with tempfile.TemporaryDirectory(prefix="outrider-guard-") as name:
        counter = choose_counter(Path(name))
        if counter is None:
            print("guard: skipped: neither perf's instruction counter nor valgrind is to be had")
            return 0
        bench = Bench(counter, Path(name))
        try:
            found = {replay.name: bench.count(replay) for replay in bench.replays}
        finally:
            bench.close()
    if options.record:
        here = f"{platform.machine()} Python {sys.version_info.major}.{sys.version_info.minor}"
        BUDGET.write_text(json.dumps({"platform": here, "instructions": found}, indent=1) + "\n")
    return judge(found, json.loads(BUDGET.read_text())["instructions"])


def judge(found: dict[str, int], budget: dict[str, int]) -> int:
    """Print the table; 1 when a replay costs more than its budget allows."""
    failed = False
    for name, count in found.items():
        allowed = budget.get(name, 0)
        change = count / allowed - 1 if allowed else 0.0
        over = not allowed or change > TOLERANCE
        failed = failed or over
        verdict = "TOO MANY" if over else "ok" if change > -TOLERANCE else "ok, the budget may be lowered"
        print(f"guard: {name:<20} {count:8d} instructions a request, budget {allowed:8d} ({change:+.1%}) {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
