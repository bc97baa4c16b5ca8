"""envoy.filters.http.wasm: the same module on both sides."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, Json, bootstrap, cluster, file_log, http, listener
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import SideConfig
from tests.support.http1_message import answer, get, post, request
from tests.support.upstream import Early
from tests.support.wasm_module import wasm_module

MODULE = Path(tempfile.mkdtemp(prefix="outrider-wasm-")) / "module.wasm"
MODULE.write_bytes(wasm_module())
LOG = [file_log("%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%\n")]


def wasm(name: str, configuration: str = "", **more: object) -> Json:
    config = {
        "name": name,
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(MODULE)}}},
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration},
        **more,
    }
    return {"name": "wasm", "typed_config": {"@type": TYPE + "extensions.filters.http.wasm.v3.Wasm", "config": config}}


NETWORK_WASM = {"name": "wasm", "typed_config": {**wasm("net")["typed_config"], "@type": TYPE + "extensions.filters.network.wasm.v3.Wasm"}}
TCP = {"name": "tcp", "typed_config": {"@type": TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "up"}}
ACCESS_LOG = {"name": "wasm", "typed_config": {**wasm("log")["typed_config"], "@type": TYPE + "extensions.access_loggers.wasm.v3.WasmAccessLog"}}


def relay(name: str) -> Json:
    made = listener(name, TCP)
    made["filter_chains"][0]["filters"].insert(0, NETWORK_WASM)
    return made


GROUP = SideConfig(
    bootstrap(
        [
            http("plugin", filters=[wasm("my_plugin", "some configuration")], log=LOG),
            http("closed", filters=[wasm("closed")], log=LOG),
            http("open", filters=[wasm("open", fail_open=True)], log=LOG),
            relay("net"),
            http("logged", log=[*LOG, ACCESS_LOG]),
            http("two", filters=[wasm("one", "first"), wasm("two", "second")], log=LOG),
        ],
        [cluster("up"), cluster("side")],
    )
)


def do(what: str, **more: object) -> bytes:
    return get("/path?q", "test", ("x-do", what))


CHUNKED = request("POST", "/", "test", (("transfer-encoding", "chunked"), ("x-do", "b"))) + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
CASES = [
    Case("nothing", get("/"), listener="plugin"),
    Case("add", do("a"), listener="plugin"),
    Case("properties", do("g"), listener="plugin"),
    Case("respond", do("r"), 403, listener="plugin"),
    Case("call", do("c"), listener="plugin", answers_by={"side": [[answer(body=b"called")]]}, upstream_sorted=True),
    Case("body", post("/", "test", ("x-do", "b"), body=b"hello"), listener="plugin"),
    Case("body_in_chunks", CHUNKED, listener="plugin"),
    Case("body_kept", post("/", body=b"hello"), listener="plugin"),
    Case("log", do("l"), listener="plugin"),
    Case("logged", do("a"), listener="logged"),
    Case("relay", get("/"), listener="net", logs=0),
    Case("relay_changed", [b"X----", 0.2, b"HEAD", 0.2, b"H", 0.2, b"HHH", 0.2], None, listener="net", logs=0, responses=0, answers=[[Early()]]),
    Case("two", do("a"), listener="two"),
    Case("trap", do("t"), 503, listener="closed"),
    Case("after_the_trap", get("/"), 503, listener="closed"),
    Case("trap_open", do("t"), None, listener="open"),
    Case("after_the_open_trap", get("/"), listener="open"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(pair: Pair, case: Case) -> None:
    pair.check(case)
