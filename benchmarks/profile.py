"""Where a worker's time goes under one scenario's load: `perf` on the compiled worker, by library and by symbol.

    python -m benchmarks.profile [--scenario small] [--seconds 4]

Needs `perf` (Debian: linux-perf). Symbols of the compiled hot path begin with CPyDef_ and the module's name.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.proxies import Outrider
from benchmarks.scenarios import SCENARIOS
from benchmarks.upstream import Upstream


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="small", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    if shutil.which("perf") is None:
        print("profile: perf is not installed (Debian: apt-get install linux-perf)", file=sys.stderr)
        return 1
    scenario = next(each for each in SCENARIOS if each.name == options.scenario)
    with tempfile.TemporaryDirectory(prefix="outrider-profile-") as name, Upstream(Path(name)) as upstream:
        proxy = Outrider(scenario, upstream)
        proxy.start()
        try:
            scenario.load.run(proxy.port, 1.0)
            data = Path(name) / "perf.data"
            pids = ",".join(str(pid) for pid in proxy.pids())
            command = ["perf", "record", "-g", "-F", "2000", "-o", str(data), "-p", pids, "--", "sleep"]
            recorder = subprocess.Popen([*command, str(options.seconds)], stderr=subprocess.DEVNULL)
            scenario.load.run(proxy.port, options.seconds + 1)
            recorder.wait()
        finally:
            proxy.stop()
        for order in ("dso", "dso,symbol"):
            report = ["perf", "report", "-i", str(data), "--no-children", "-g", "none", "--stdio", "--sort", order]
            shown = subprocess.run(
                [*report, "--percent-limit", "0.4"], capture_output=True, text=True, check=False
            ).stdout
            print("\n".join(line for line in shown.splitlines() if line and not line.startswith("#")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
