"""Reading listeners: what Envoy refuses is refused with its words, and settings reach the sockets."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest
from google.protobuf import json_format

from outrider.access_log.file_writer import AccessLogManager
from outrider.config import api
from outrider.config.errors import ConfigError
from outrider.config.runtime import Runtime
from outrider.config.view import View
from outrider.data.stream_info import ConnectionInfo
from outrider.event.dispatcher import Dispatcher
from outrider.extensions.all_extensions import load_extensions
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.network.listen_socket import ListenSocket
from outrider.network.listener_config import ListenerConfig
from outrider.stats.store import Store
from outrider.upstream.cluster_manager import ClusterManager
from tests.network.test_filter_chain import connection

load_extensions()

ECHO = {
    "name": "envoy.filters.network.echo",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
}
ANYWHERE = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def context() -> FactoryContext:
    store = Store()
    dispatcher = Dispatcher("test", cast(Any, None))
    return FactoryContext(
        store, dispatcher, ClusterManager(), Runtime(), AccessLogManager(store), None, ServerInfo(), is_main=True
    )


def view(**fields: Any) -> View:
    tree: dict[str, Any] = {"name": "l", "address": ANYWHERE, "filter_chains": [{"filters": [ECHO]}], **fields}
    message = api.new("envoy.config.listener.v3.Listener")
    json_format.ParseDict(
        {name: value for name, value in tree.items() if value is not None}, message, descriptor_pool=api.pool()
    )
    return View(message, "listener")


def read(**fields: Any) -> ListenerConfig:
    return ListenerConfig(view(**fields), context())


def chain(match: dict[str, Any] | None = None, name: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"filters": [ECHO], "name": name}
    if match is not None:
        made["filter_chain_match"] = match
    return made


def refused(**fields: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        read(**fields)
    return str(caught.value)


def address(**fields: Any) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": 1, **fields}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"address": None}, "error adding listener named 'l': address is necessary"),
        ({"filter_chains": []}, "error adding listener '127.0.0.1:0': no filter chains specified"),
        ({"address": address(address="foo")}, "malformed IP address: foo"),
        ({"address": address(resolver_name="zz")}, "Unknown address resolver: zz"),
        ({"address": address(ipv4_compat=True)}, "Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set"),
        (
            {"address": {"socket_address": {"address": "127.0.0.1", "named_port": "http"}}},
            "IP resolver can't handle port specifier type 4",
        ),
        (
            {"filter_chains": [chain({"destination_port": 1}, "a"), chain({"destination_port": 1}, "b")]},
            "error adding listener '127.0.0.1:0': filter chain 'b' has the same matching rules defined as 'a'",
        ),
        (
            {"filter_chains": [chain({"source_ports": [1, 2]}, "a"), chain({"source_ports": [2, 3]}, "b")]},
            "error adding listener '127.0.0.1:0': multiple filter chains with overlapping matching rules are defined",
        ),
        (
            {"filter_chains": [chain({"server_names": ["a*.com"]})]},
            'partial wildcards are not supported in "server_names"',
        ),
        ({"filter_chains": [chain({"server_names": ["*"]})]}, 'partial wildcards are not supported in "server_names"'),
        ({"filter_chains": [chain({"suffix_len": 3}, "a")]}, "filter chain 'a' contains unimplemented fields"),
        (
            {"filter_chains": [chain({"prefix_ranges": [{"address_prefix": "zz", "prefix_len": 3}]})]},
            "malformed IP address",
        ),
        (
            {"filter_chains": [{"filters": [ECHO, ECHO]}]},
            "Error: terminal filter named envoy.filters.network.echo of type envoy.filters.network.echo must be the "
            "last filter in a network filter chain.",
        ),
        ({"filter_chains": [{"filters": [{"name": "foo"}]}]}, "Didn't find a registered implementation for 'foo'"),
        ({"listener_filters": [{"name": "foo"}]}, "Didn't find a registered implementation for 'foo'"),
        (
            {"enable_mptcp": True, "address": {"pipe": {"path": "/x"}}},
            "enable_mptcp can only be used with IP addresses",
        ),
        ({"address": address(protocol="UDP")}, "filter chain(s) specified for connection-less UDP listener"),
        ({"internal_listener": {}}, "address should not be used when an internal listener config is provided"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    assert message in refused(**fields)


def test_a_default_chain_is_enough() -> None:
    config = read(filter_chains=[], default_filter_chain={"filters": [ECHO], "name": "d"})
    found = config.matcher.find(connection())
    assert found is not None
    assert found.name == "d"


def test_names_and_prefixes() -> None:
    assert read().scope.prefix == "listener.127.0.0.1_0."
    assert read(stat_prefix="mine").scope.prefix == "listener.mine."
    six = {"socket_address": {"address": "::1", "port_value": 80}}
    assert read(address=six).scope.prefix == "listener.[__1]_80."
    assert len(read(name=None).name) == 36


def test_everything_set_has_been_read() -> None:
    given = view(
        stat_prefix="s", per_connection_buffer_limit_bytes=1, metadata={"filter_metadata": {"a": {"b": 1}}},
        drain_type="MODIFY_ONLY", listener_filters_timeout="1s", continue_on_listener_filters_timeout=True,
        transparent=False, freebind=False, tcp_fast_open_queue_length=3, traffic_direction="INBOUND",
        enable_reuse_port=False, tcp_backlog_size=7, max_connections_to_accept_per_socket_event=2, bind_to_port=True,
        ignore_global_conn_limit=True, bypass_overload_manager=True, tcp_keepalive={"keepalive_time": 60},
        socket_options=[{"level": 1, "name": 2, "int_value": 3, "state": "STATE_LISTENING", "description": "d"}],
        additional_addresses=[{"address": address(port_value=2), "tcp_keepalive": {}}],
        filter_chains=[
            {
                **chain({"destination_port": 1, "source_type": "EXTERNAL", "transport_protocol": "tls"}, "c"),
                "transport_socket_connect_timeout": "2s",
            }
        ],
        listener_filters=[
            {
                "name": "envoy.filters.listener.tls_inspector",
                "filter_disabled": {"not_match": {"destination_port_range": {"start": 1, "end": 3}}},
            }
        ],
    )  # fmt: skip
    config = ListenerConfig(given, context())
    assert given.unread() == []
    assert (config.direction, config.drain_type, config.buffer_limit) == ("INBOUND", "MODIFY_ONLY", 1)
    assert (config.listener_filters_timeout_ms, config.max_accepts_per_event) == (1000, 2)
    assert config.info.metadata == {"a": {"b": 1}}
    assert config.chains[0].connect_timeout_ms == 2000
    first, second = config.sockets
    assert (first.reuse_port, first.backlog, first.fast_open_queue) == (False, 7, 3)
    assert len(second.options) == 2
    disabled = config.listener_filters[0].disabled
    assert disabled is not None
    info: ConnectionInfo = connection(local="1.2.3.4:2")
    assert not disabled.matches(info)
    assert disabled.matches(connection(local="1.2.3.4:3"))


@pytest.mark.parametrize(
    "field",
    [
        {"use_original_dst": True}, {"connection_balance_config": {"exact_balance": {}}},
        {"udp_listener_config": {}}, {"api_listener": {}}, {"fcds_config": {}},
    ],
)  # fmt: skip
def test_what_is_not_served_stays_unread(field: dict[str, Any]) -> None:
    given = view(**field)
    ListenerConfig(given, context())
    assert given.unread() == [f"listener.{name}" for name in field]


def test_socket_options_are_on_the_sockets() -> None:
    option = {"level": socket.SOL_SOCKET, "name": socket.SO_RCVBUF, "int_value": 65536}
    late = {**option, "name": socket.SO_PRIORITY, "int_value": 3, "state": "STATE_LISTENING"}
    config = read(
        socket_options=[option, late],
        tcp_keepalive={"keepalive_probes": 4, "keepalive_time": 33, "keepalive_interval": 5},
    )
    opened = ListenSocket(config.sockets[0], 3)
    try:
        assert len(opened.sockets) == 3
        assert len({each.getsockname() for each in opened.sockets}) == 1
        assert opened.address.port != 0
        one = opened.sockets[1]
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 131072
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 0
        opened.listen()
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    finally:
        opened.close()


def test_a_shared_socket_and_one_that_is_not_bound() -> None:
    shared = ListenSocket(read(enable_reuse_port=False).sockets[0], 3)
    assert len(shared.sockets) == 1
    twin = shared.for_worker(2)
    assert twin.getsockname() == shared.sockets[0].getsockname()
    twin.close()
    shared.close()
    unbound = ListenSocket(read(bind_to_port=False).sockets[0], 3)
    assert unbound.sockets == []
