"""What a TCP proxy hashes connections by."""

from __future__ import annotations

from outrider.data.address import ip_address
from outrider.data.filter_state import StringState
from outrider.data.stream_info import ConnectionInfo
from outrider.extensions.filters.network.tcp_proxy import HASH_SOURCE_IP, TcpContext
from outrider.extensions.filters.network.tcp_tlvs import ADD_IF_ABSENT, TlvSettings
from outrider.network.connection import Connection
from outrider.network.tcp_proxy import TcpProxy
from outrider.network.tcp_proxy_settings import TcpProxySettings, TcpProxyStats, UpstreamConnector
from outrider.router.config.hash_policy import hash64
from outrider.stats.store import Store
from tests.support.dispatcher import idle_dispatcher


def key(hash_by: str, state: dict[str, object] | None = None) -> int | None:
    info = ConnectionInfo(1, ip_address("10.0.0.1", 80), ip_address("10.0.0.2", 4000))
    info.filter_state = state
    settings = TcpProxySettings(TcpProxyStats(Store().scope("tcp.x.")), UpstreamConnector())
    proxy = TcpProxy(settings)
    proxy.connection = Connection(idle_dispatcher(), info)
    return TcpContext(proxy, None, hash_by, TlvSettings([], ADD_IF_ABSENT)).compute_hash_key()


def test_what_is_hashed() -> None:
    assert key("") is None
    assert key(HASH_SOURCE_IP) == hash64(b"10.0.0.2")
    assert key("k") is None
    assert key("k", {"k": StringState("v")}) == hash64(b"v")
    assert key("k", {"k": object()}) is None
