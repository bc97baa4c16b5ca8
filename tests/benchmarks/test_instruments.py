"""What the load generators print is read right; the guard judges; the profile adds up."""

from __future__ import annotations

import pytest
from benchmarks.loads import parse_h2load, parse_wrk

from benchmarks import guard, profile

WRK = """Running 3s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.50ms  500.00us  10.00ms   90.00%
  Latency Distribution
     50%    1.33ms
     75%    2.00ms
     90%    3.00ms
     99%  901.00us
  42748 requests in 2.00s, 53.00MB read
  Socket errors: connect 1, read 2, write 0, timeout 3
  Non-2xx or 3xx responses: 7
Requests/sec:  21374.00
"""

H2LOAD = """finished in 3.00s, 1000.50 req/s, 1.10MB/s
requests: 3002 total, 3002 started, 3002 done, 3000 succeeded, 3 failed, 2 errored, 2 timeout
status codes: 3000 2xx, 0 3xx, 0 4xx, 1 5xx
"""


def test_wrk() -> None:
    found = parse_wrk(WRK)
    assert found["units"] == 42748
    assert found["rps"] == 21374
    assert (found["p50_ms"], found["p99_ms"]) == (1.33, 0.901)
    assert found["errors"] == 1 + 2 + 3 + 7


def test_h2load() -> None:
    log = "".join(f"{number}\t200\t{number * 1000}\n" for number in range(1, 101))
    found = parse_h2load(H2LOAD, log)
    assert found["units"] == 3000
    assert found["errors"] == 3
    assert (found["p50_ms"], found["p99_ms"]) == (51, 100)


@pytest.mark.parametrize(("count", "verdict"), [(1000, 0), (1079, 0), (1081, 1), (500, 0)])
def test_the_guard_judges(count: int, verdict: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.judge({"small": count}, {"small": 1000}) == verdict
    assert ("TOO MANY" in capsys.readouterr().out) == (verdict == 1)


def test_a_replay_without_a_budget_fails() -> None:
    assert guard.judge({"fresh": 10}, {}) == 1


DUMP = """version: 1
events: Ir
ob=(1) /x/outrider_hot__mypyc.cpython-311-x86_64-linux-gnu.so
fn=(1) CPyDef_conn_manager___HttpConnectionManager___on_data
0 100
cob=(2) /x/libpython3.11.so.1.0
cfn=(2) PyDict_GetItem
calls=2 0
0 60
cob=(3) /x/http1.cpython-311-x86_64-linux-gnu.so
cfn=(3) llhttp__internal__run
calls=1 0
0 40
ob=(2)
fn=(2)
+3 80
ob=(3)
fn=(3)
0 20
cob=(2)
cfn=(2)
calls=1 0
* 20
"""


def test_the_profile_puts_support_to_its_callers() -> None:
    functions = profile.read_dump(DUMP)
    assert sum(each.cost for each in functions.values()) == 200
    profile.settle(functions)
    cost = {each.name: each.cost for each in functions.values()}
    # The dictionary's 80 are shared as 60 to 20.
    assert cost["CPyDef_conn_manager___HttpConnectionManager___on_data"] == pytest.approx(160)
    assert cost["llhttp__internal__run"] == pytest.approx(40)
    assert cost["PyDict_GetItem"] == 0
    stages = {each.name: profile.stage_of(each) for each in functions.values()}
    assert stages["llhttp__internal__run"] == "parse"
    assert stages["CPyDef_conn_manager___HttpConnectionManager___on_data"] == "connection manager"
