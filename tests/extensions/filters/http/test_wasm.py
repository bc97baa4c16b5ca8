"""envoy.filters.http.wasm and the host below it. Traffic is compared with Envoy in tests/parity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.data.header_map import ResponseHeaderMap
from outrider.extensions.filters.http import wasm
from outrider.extensions.wasm import abi
from outrider.extensions.wasm.shared import SharedStore
from tests.extensions.filters.http.scene import Scene, Stream, request_headers
from tests.support.wasm_module import wasm_module

assert wasm
TYPE = "envoy.extensions.filters.http.wasm.v3.Wasm"
STRING = "type.googleapis.com/google.protobuf.StringValue"


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wasm") / "module.wasm"
    path.write_bytes(wasm_module())
    return path


def scene(path: Path, configuration: str = "text", **more: Any) -> Scene:
    machine = {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(path)}}}
    plugin = {"name": "p", "vm_config": machine, "configuration": {"@type": STRING, "value": configuration}, **more}
    return Scene("wasm", TYPE, {"config": plugin})


def do(made: Scene, what: str) -> Stream:
    return made.stream(request_headers(("x-do", what)))


def field(stream: Stream, name: str) -> bytes | None:
    assert stream.request_headers is not None
    return stream.request_headers.get(name.encode())


def test_requests_and_responses(module: Path) -> None:
    made = scene(module)
    stream = do(made, "a")
    assert stream.passed and field(stream, "x-wasm") == b"text"
    headers = ResponseHeaderMap(status=200)
    stream.encode_headers_from(None, headers, True)
    assert headers.get(b"x-wasm-response") == b"yes"
    assert made.counter("wasmcustom.wasm_hits") == 1
    assert field(do(made, "g"), "x-own") == b"kept"


def test_answers(module: Path) -> None:
    stream = do(scene(module), "r")
    assert stream.out == ["reply 403 no entry"] and stream.details == "denied"


def test_a_trap_closes_or_opens(module: Path) -> None:
    made = scene(module)
    assert do(made, "t").details == "wasm_fail_stream"
    assert do(made, "a").out == ["reply 503 "]
    assert made.store.gauge("wasm.envoy.wasm.runtime.v8.active").value == 0
    lenient = scene(module, fail_open=True)
    assert do(lenient, "t").passed
    assert field(do(lenient, "a"), "x-wasm") is None


def test_denied_functions(module: Path) -> None:
    allowed = {name: {} for name in ("proxy_get_header_map_value", "proxy_on_request_headers", "proxy_log")}
    made = scene(module, capability_restriction_config={"allowed_capabilities": allowed})
    stream = do(made, "a")
    assert stream.passed and field(stream, "x-wasm") is None
    assert made.counter("wasmcustom.wasm_hits") == 0


def test_modules_that_cannot_run(module: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unable to create Wasm plugin p"):
        scene(module, "!refused")
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(b"junk")
    with pytest.raises(ConfigError, match="Unable to create Wasm plugin p"):
        scene(broken)
    with pytest.raises(ConfigError, match="Invalid path"):
        scene(tmp_path / "none.wasm")


def test_streams_leave_nothing_behind(module: Path) -> None:
    made = scene(module, vm_config={"vm_id": "v", "code": {"local": {"filename": str(module)}}})
    machines: Any = made.context.singletons["wasm.machines"]
    (machine,) = machines.values()
    before = len(machine.contexts)
    do(made, "a").destroy_filters()
    assert len(machine.contexts) == before


def test_pairs() -> None:
    pairs = [(b"a", b"1"), (b"", b""), (b"b", b"x" * 300)]
    assert abi.unpack_pairs(abi.pack_pairs(pairs)) == pairs
    for broken in (b"\xff\xff\xff\xff", b"\1\0\0", abi.pack_pairs(pairs)[:-1]):
        with pytest.raises(ValueError):
            abi.unpack_pairs(broken)


def test_shared_data() -> None:
    store = SharedStore()
    assert store.set("v", b"k", b"1", 0)
    found = store.get("v", b"k")
    assert found is not None and found[0] == b"1"
    assert store.set("v", b"k", b"2", found[1] + 1) is False
    assert store.set("v", b"k", b"2", found[1])
    assert store.get("other", b"k") is None
    assert store.set("v", b"big", b"x" * (65 << 20), 0) is None
    assert store.enqueue(7, b"x") is False
