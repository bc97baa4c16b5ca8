"""Where a request's time goes: a table of stages, and the functions that cost most, of the compiled proxy.

    python -m benchmarks.profile [--replay small] [--functions 30]

valgrind's callgrind counts the instructions of a fixed replay (see `replay.py`). What Python's own library and libc do
is put to the account of who called them. Symbols of the compiled hot path begin with CPyDef_ and the module's name.
With `--perf --scenario NAME` perf samples a loaded worker instead, kernel included.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.proxies import Outrider
from benchmarks.replay import Bench, CallgrindCounter
from benchmarks.scenarios import SCENARIOS
from benchmarks.upstream import Upstream

# The first that fits decides. A place is `library` or `library:module` of the compiled unit.
STAGES: list[tuple[str, str]] = [
    ("loop and sockets", r"sockets|loop|hot:(dispatcher|timer)"),
    ("TLS", r"tls|_rust|libssl|libcrypto|hot:tls|hot:socket"),
    ("connection", r"hot:(connection|listener|filter_chain|client_connection|transport_socket|listener_stats|filter)$"),
    ("parse", r"http1$|hot:http1|hot:.*(server_connection|client_connection|framing|request_target)"),
    ("serialise", r"http1_writer|hot:.*(server_stream|client_stream|status_line)"),
    ("HTTP/2", r"http2|libnghttp2"),
    ("access log", r"hot:access_log|hot:.*(file_writer|_ops|formatter|loggers|context|operation)"),
    ("connection manager", r"hot:.*(conn_manager|active_stream|forwarded|request_id|local_reply|xfcc|path_normal)"),
    ("filters", r"hot:.*(filter_manager|http_filter|header_mutation)"),
    ("route", r"hot:.*(route|virtual_host|domain_table|path_match|matcher|header_edits|rewrite)"),
    ("router filter", r"hot:.*(router|upstream_request|retry|timeouts|charge|recovery|response|upgrade|shadow)"),
    ("pool", r"hot:.*(pool|active_client|cluster|host|connector|resource|load_balancer|round_robin|edf|base)"),
    ("TCP proxy", r"hot:tcp_proxy"),
    ("stats", r"hot:(metrics|bins|stats)"),
    ("data", r"hot:(header_map|stream_info|address|data|shared_limit)"),
]
# Their cost belongs to whoever calls them.
SUPPORT = re.compile(r"libpython|libc[.-]|libm[.-]|ld-linux|python3|libpthread|vgpreload|_cffi")
# mypyc's runtime, within the unit.
RUNTIME = re.compile(r"^(CPy(?!Def|Py)|_?Py|__Pyx)")


class Function:
    """A function of the dump: its own cost, and who called it at what (inclusive) price."""

    __slots__ = ("place", "name", "cost", "callers")

    def __init__(self, place: str, name: str) -> None:
        self.place = place
        self.name = name
        self.cost = 0.0
        self.callers: dict[Function, float] = {}


def place_of(library: str, name: str) -> str:
    short = library.rsplit("/", 1)[-1].split(".cpython", 1)[0]
    if not short.startswith("outrider_hot"):
        return short
    found = re.match(r"CPy(?:Def|Py)_(.+?)___", name)
    return f"hot:{found.group(1)}" if found else "hot"


def read_dump(text: str) -> dict[str, Function]:
    """Callgrind's profile format: `fn=` begins a function, `calls=` a call, whose cost stands in the next line."""
    functions: dict[str, Function] = {}
    names: dict[str, dict[str, str]] = {"fn": {}, "ob": {}}
    library = called_library = ""
    current = called = Function("", "")
    is_call = False
    for line in text.splitlines():
        found = re.match(r"(fn|cfn|ob|cob)=\((\d+)\)(?: (.*))?$", line)
        if found:
            kind, number, name = found.group(1), found.group(2), found.group(3)
            table = names[kind[-2:]]
            if name is not None:
                table[number] = name
            name = table[number]
            if kind == "ob":
                library = called_library = name
            elif kind == "cob":
                called_library = name
            else:
                where = library if kind == "fn" else called_library
                key = f"{where} {name}"
                function = functions.setdefault(key, Function(place_of(where, name), name))
                if kind == "fn":
                    current = function
                else:
                    called = function
        elif line.startswith("calls="):
            is_call = True
        elif line[:1].isdigit() or line[:1] in "+-*":
            fields = line.split()
            if len(fields) < 2:
                continue
            if is_call:
                called.callers[current] = called.callers.get(current, 0.0) + int(fields[1])
                is_call = False
                called_library = library
            else:
                current.cost += int(fields[1])
    return functions


def is_support(function: Function) -> bool:
    return bool(SUPPORT.search(function.place)) or (function.place == "hot" and bool(RUNTIME.match(function.name)))


def settle(functions: dict[str, Function]) -> None:
    """Move the cost of supporting functions up to their callers, in shares of what each call cost."""
    supporting = [each for each in functions.values() if is_support(each)]
    for _ in range(60):
        for function in supporting:
            total = sum(function.callers.values())
            if function.cost < 1 or not total:
                continue
            cost, function.cost = function.cost, 0.0
            for caller, share in function.callers.items():
                caller.cost += cost * share / total


def stage_of(function: Function) -> str:
    for stage, pattern in STAGES:
        if re.search(pattern, function.place):
            return stage
    return "interpreter and the rest"


def show(text: str, requests: int, count: int) -> None:
    functions = read_dump(text)
    settle(functions)
    total = sum(each.cost for each in functions.values()) or 1.0
    stages: dict[str, float] = {}
    for function in functions.values():
        stage = stage_of(function)
        stages[stage] = stages.get(stage, 0.0) + function.cost
    print(f"{total / requests:10.0f}  instructions a request")
    for stage, cost in sorted(stages.items(), key=lambda item: -item[1]):
        if cost >= total / 1000:
            print(f"{cost / requests:10.0f} {cost / total:6.1%}  {stage}")
    print()
    for function in sorted(functions.values(), key=lambda each: -each.cost)[:count]:
        print(f"{function.cost / requests:10.0f} {function.cost / total:6.1%}  {function.place:<28} {function.name}")


def by_callgrind(names: list[str], count: int) -> int:
    if shutil.which("valgrind") is None:
        print("profile: valgrind is not installed (tools/setup.sh bench)", file=sys.stderr)
        return 1
    from benchmarks.replay import COUNTED

    with tempfile.TemporaryDirectory(prefix="outrider-profile-") as name:
        counter = CallgrindCounter(Path(name))
        bench = Bench(counter, Path(name))
        try:
            for replay in bench.replays:
                if replay.name in names or "all" in names:
                    bench.count(replay, 1)
                    print(f"== {replay.name}")
                    show(counter.dump, COUNTED, count)
        finally:
            bench.close()
    return 0


def by_perf(scenario_name: str, seconds: float) -> int:
    if shutil.which("perf") is None:
        print("profile: perf is not installed (Debian: apt-get install linux-perf)", file=sys.stderr)
        return 1
    scenario = next(each for each in SCENARIOS if each.name == scenario_name)
    with tempfile.TemporaryDirectory(prefix="outrider-profile-") as name, Upstream(Path(name)) as upstream:
        proxy = Outrider(scenario, upstream)
        try:
            proxy.start()
            scenario.load.run(proxy.port, 1.0)
            data = Path(name) / "perf.data"
            pids = ",".join(str(pid) for pid in proxy.pids())
            command = ["perf", "record", "-g", "-F", "2000", "-o", str(data), "-p", pids, "--", "sleep"]
            recorder = subprocess.Popen([*command, str(seconds)], stderr=subprocess.DEVNULL)
            scenario.load.run(proxy.port, seconds + 1)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", default="small", help="replays, comma-separated; 'all'")
    parser.add_argument("--functions", type=int, default=25, help="how many to list")
    parser.add_argument("--perf", action="store_true", help="sample a loaded worker instead")
    parser.add_argument("--scenario", default="small", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    if options.perf:
        return by_perf(options.scenario, options.seconds)
    return by_callgrind(options.replay.split(","), options.functions)


if __name__ == "__main__":
    sys.exit(main())
