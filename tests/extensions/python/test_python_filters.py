"""Filters written as Python classes: the ones in examples/, and some that misbehave."""

from __future__ import annotations

import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from outrider import testing
from outrider.config.errors import ConfigError
from outrider.data.header_map import RequestHeaderMap, ResponseHeaderMap
from outrider.http.filter import HttpFilter
from outrider.network.listener_filter import ListenerFilter, ListenerFilterChain

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
HERE = __name__


class Raises(HttpFilter):
    def __init__(self, config: dict[str, object]) -> None:
        if config.get("where") == "init":
            raise ValueError("nothing suits me")
        self.where = config.get("where")

    def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> int:
        if self.where == "decode" and headers.path == b"/bad":
            raise RuntimeError("decode")
        return 0

    def encode_headers(self, headers: ResponseHeaderMap, end_stream: bool) -> int:
        return 0


class AsyncRaises(HttpFilter):
    def __init__(self, config: dict[str, object]) -> None:
        pass

    async def decode_headers(self, headers: RequestHeaderMap, end_stream: bool) -> None:  # type: ignore[override]
        if headers.path == b"/bad":
            raise RuntimeError("async")


class AsyncBody(HttpFilter):
    def __init__(self, config: dict[str, object]) -> None:
        pass

    async def decode_data(self, data: bytes, end_stream: bool) -> None:  # type: ignore[override]
        pass


class RaisesOnAccept(ListenerFilter):
    def __init__(self, config: dict[str, object]) -> None:
        pass

    def on_accept(self, callbacks: ListenerFilterChain) -> int:
        raise RuntimeError("accept")


def python(module: str, **config: object) -> dict[str, Any]:
    return {
        "name": "mine",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "outrider.python",
            "value": {"module": module, "config": config},
        },
    }


def web(*filters: dict[str, Any], listener_filters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    manager = {
        "@type": HCM,
        "stat_prefix": "web",
        "http_filters": [*filters, {"name": "router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "web",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": listener_filters or [],
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


def get(url: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


@pytest.fixture(autouse=True)
def examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    sys.modules.pop("hello_filters", None)


def test_the_examples() -> None:
    tree = web(python("hello_filters:Greeting", name="you"), python("hello_filters:SlowCheck", seconds=0.01))
    with testing.running(tree) as proxy:
        assert get(proxy.url("web", "/greet"))[:2] == (200, "Hello, you!\n")
        status, body, headers = get(proxy.url("web", "/"))
        assert (status, body, headers["x-signed-by"]) == (200, "ok", "you")


@pytest.mark.parametrize("kind", ["Raises", "AsyncRaises"])
def test_an_exception_ends_its_stream_only(kind: str) -> None:
    with testing.running(web(python(f"{HERE}:{kind}", where="decode"))) as proxy:
        assert get(proxy.url("web", "/good"))[0] == 200
        assert get(proxy.url("web", "/bad"))[0] == 500
        assert get(proxy.url("web", "/good"))[0] == 200
        assert proxy.stats("python_filter.")[f"python_filter.{HERE}.{kind}.errors"] == 1


def test_an_exception_in_a_listener_filter_closes_the_connection() -> None:
    with testing.running(web(listener_filters=[python(f"{HERE}:RaisesOnAccept")])) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port("web")), 5) as client:
            client.settimeout(5)
            try:
                assert client.recv(10) == b""
            except ConnectionResetError:
                pass
        assert proxy.stats("python_filter.")[f"python_filter.{HERE}.RaisesOnAccept.errors"] == 1


@pytest.mark.parametrize(
    ("module", "config", "said"),
    [
        ("nowhere_at_all:X", {}, "cannot load"),
        (f"{HERE}:Nothing", {}, "cannot load"),
        (f"{HERE}:RaisesOnAccept", {}, "no subclass of outrider's HttpFilter"),
        (f"{HERE}:Raises", {"where": "init"}, "nothing suits me"),
        (f"{HERE}:AsyncBody", {}, "only decode_headers and encode_headers may be async"),
        ("no_class", {}, "'package.module:Class' is required"),
    ],
)
def test_what_cannot_work_is_refused_at_load(module: str, config: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said), testing.running(web(python(module, **config))):
        pass
