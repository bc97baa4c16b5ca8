"""The proxy inside another program: `outrider.Server` and `outrider.testing`."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from typing import Any

import pytest

import outrider
from outrider import testing
from outrider.config.errors import ConfigError
from outrider.network.listen_socket import BindError

pytest_plugins = ["pytester"]

HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def config(body: str = "hello", admin: bool = False) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": body}}}
    manager = {
        "@type": HCM,
        "stat_prefix": "test",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "web",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    tree: dict[str, Any] = {"static_resources": {"listeners": [listener]}}
    if admin:
        tree["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    return tree


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


async def get_async(host: str, port: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


def test_server_on_the_programs_own_loop() -> None:
    async def body() -> None:
        async with outrider.Server(config()) as server:
            host, port = server.address("web")
            answer = await get_async(host, port)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"hello")
            stats = await server.stats("http.test.")
            assert stats["http.test.downstream_rq_2xx"] == 1
            with pytest.raises(KeyError):
                server.address("other")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        with pytest.raises(RuntimeError):
            server.listeners  # noqa: B018 - the access itself raises

    asyncio.run(body())


def test_a_stopped_server_can_be_stopped_again_and_two_run_side_by_side() -> None:
    async def body() -> None:
        one, two = outrider.Server(config("one")), outrider.Server(config("two"))
        await one.start()
        await two.start()
        assert (await get_async(*one.address("web"))).endswith(b"one")
        assert (await get_async(*two.address("web"))).endswith(b"two")
        await one.stop()
        await one.stop()
        assert (await get_async(*two.address("web"))).endswith(b"two")
        await two.stop()

    asyncio.run(body())


def test_errors_are_raised_and_nothing_stays_bound() -> None:
    async def body() -> None:
        with pytest.raises(ConfigError, match="zzz"):
            await outrider.Server({"zzz": 1}).start()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            tree = config()
            address = tree["static_resources"]["listeners"][0]["address"]
            address["socket_address"]["port_value"] = taken.getsockname()[1]
            with pytest.raises(BindError, match="Address already in use"):
                await outrider.Server(tree).start()

    asyncio.run(body())


def test_running_gives_urls_stats_and_admin() -> None:
    with testing.running(config(admin=True)) as proxy:
        assert get(proxy.url("web", "/x")) == "hello"
        assert get(proxy.admin_url + "/ready") == "LIVE\n"
        assert proxy.stats("http.test.downstream_rq_")["http.test.downstream_rq_total"] == 1
        port = proxy.port("web")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    proxy.stop()


def test_running_raises_what_is_wrong() -> None:
    with pytest.raises(ConfigError), testing.running({"zzz": 1}):
        raise AssertionError("not reached")


def test_the_pytest_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["outrider.testing"]')
    pytester.makepyfile(f"""
        import urllib.request

        def test_it(outrider_proxy):
            proxy = outrider_proxy({config()!r})
            assert urllib.request.urlopen(proxy.url("web")).read() == b"hello"
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def log_to(path: Any, text: str) -> list[dict[str, Any]]:
    """A file access log with this format."""
    return [
        {
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": str(path),
                "log_format": {"text_format_source": {"inline_string": text}},
            },
        }
    ]


def test_the_listeners_own_access_log(tmp_path: Any) -> None:
    """Every connection is logged once it is over; one without a filter chain has the flag NR."""
    log = tmp_path / "listener.log"
    tree = config()
    listener = tree["static_resources"]["listeners"][0]
    text = "%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %FILTER_CHAIN_NAME%\n"
    listener["access_log"] = log_to(log, text)
    listener["filter_chains"][0]["name"] = "only"
    here = {"address_prefix": "127.0.0.1", "prefix_len": 32}
    listener["filter_chains"][0]["filter_chain_match"] = {"source_prefix_ranges": [here]}

    async def body() -> None:
        async with outrider.Server(tree) as server:
            host, port = server.address("web")
            assert (await get_async(host, port)).endswith(b"hello")
            reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0))
            assert await reader.read() == b""
            writer.close()
            stats = await server.stats("listener.")
            assert stats["listener.127.0.0.1_0.no_filter_chain_match"] == 1
            assert stats["listener.127.0.0.1_0.downstream_cx_total"] == 1

    asyncio.run(body())
    assert sorted(log.read_text().splitlines()) == ["- 127.0.0.1 only", "NR 127.0.0.1 -"]
