"""envoy.filters.network.rbac: verdicts on connections."""

from __future__ import annotations

from typing import Any, cast

import pytest

from outrider.config.errors import ConfigError
from outrider.data.address import ip_address
from outrider.data.stream_info import ConnectionInfo
from outrider.extensions.filters.network import rbac
from outrider.factory_context import FactoryContext, ServerInfo
from outrider.network.connection import Connection
from outrider.network.filter import CONTINUE, EVENT_REMOTE_CLOSE, STOP, ConnectionCallbacks
from outrider.stats.store import Store
from tests.matching.support import view_of
from tests.support.dispatcher import idle_dispatcher


class FakeTimer:
    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.delay: int | None = None

    def arm(self, delay_ms: int) -> None:
        self.delay = delay_ms

    def disarm(self) -> None:
        self.delay = None


class FakeConnection(Connection):
    def __init__(self) -> None:
        info = ConnectionInfo(1, ip_address("127.0.0.1", 80), ip_address("10.1.2.3", 4000))
        super().__init__(idle_dispatcher(), info)
        self.closed = ""
        self.taking = True
        self.timers: list[FakeTimer] = []
        self.dispatcher = self

    def add_callbacks(self, callbacks: ConnectionCallbacks) -> None:
        pass

    def read_disable(self, disable: bool) -> None:
        self.taking = not disable

    def close(self, close_type: int, details: str) -> None:
        self.closed = details

    def timer(self, owner: Any, kind: int) -> FakeTimer:
        self.timers.append(FakeTimer(owner))
        return self.timers[-1]


ANYBODY = {"policies": {"p": {"permissions": [{"any": True}], "principals": [{"any": True}]}}}


def run(config: dict[str, Any]) -> tuple[rbac.NetworkRbacFilter, FakeConnection, Store]:
    store = Store()
    nothing = cast(Any, None)
    context = FactoryContext(store, nothing, nothing, nothing, nothing, None, ServerInfo())
    made = rbac.create(view_of(rbac.TYPE, {"stat_prefix": "me", **config}), context).create()
    assert isinstance(made, rbac.NetworkRbacFilter)
    connection = FakeConnection()
    made.initialize(cast(Any, connection))
    made.on_new_connection()
    return made, connection, store


def test_allowed_once() -> None:
    made, connection, store = run({"rules": ANYBODY})
    assert made.on_data(b"a", False) == CONTINUE
    assert made.on_data(b"b", False) == CONTINUE
    assert store.counter("me.rbac.allowed").value == 1
    assert connection.closed == ""


def test_continuous_judges_each_read() -> None:
    made, _, store = run({"rules": ANYBODY, "enforcement_type": "CONTINUOUS"})
    made.on_data(b"a", False)
    made.on_data(b"b", False)
    assert store.counter("me.rbac.allowed").value == 2


def test_denied_is_closed() -> None:
    made, connection, store = run({"rules": {"action": "DENY", **ANYBODY}})
    assert made.on_data(b"a", False) == STOP
    assert connection.closed == "rbac_deny_close"
    assert connection.info.termination_details == "rbac_access_denied_matched_policy[p]"
    assert store.counter("me.rbac.denied").value == 1


def test_denied_is_closed_later() -> None:
    made, connection, _ = run({"rules": {}, "delay_deny": "0.25s"})
    assert made.on_data(b"a", False) == STOP
    assert connection.closed == ""
    assert not connection.taking
    assert connection.timers[0].delay == 250
    connection.timers[0].owner.on_timer(0)
    assert connection.closed == "rbac_deny_close"


def test_the_delay_ends_with_the_connection() -> None:
    made, connection, _ = run({"rules": {}, "delay_deny": "0.25s"})
    made.on_data(b"a", False)
    made.on_event(EVENT_REMOTE_CLOSE)
    assert connection.timers[0].delay is None


def test_shadow_verdict_is_metadata_of_the_connection() -> None:
    made, connection, _ = run({"shadow_rules": ANYBODY, "shadow_rules_stat_prefix": "x_"})
    assert made.on_data(b"a", False) == CONTINUE
    assert connection.info.metadata == {
        rbac.NAMESPACE: {"x_shadow_engine_result": "allowed", "x_shadow_effective_policy_id": "p"}
    }


def test_headers_are_not_for_connections() -> None:
    header = {"header": {"name": ":method", "present_match": True}}
    with pytest.raises(ConfigError, match=r"Found header\(:method\) rule,not supported by RBAC network filter"):
        run({"rules": {"policies": {"p": {"permissions": [header], "principals": [{"any": True}]}}}})
