"""The overload manager: what each action does to connections and requests, with the pressure injected by a file."""

from __future__ import annotations

import pytest

from tests.parity.harness.case import Case
from tests.parity.harness.config import TYPE, bootstrap, cluster, http
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig, wait_for
from tests.support.http1_message import get

MONITOR = "envoy.resource_monitors.injected_resource"


def trigger(value: float) -> str:
    return f"triggers: [{{name: {MONITOR}, threshold: {{value: {value}}}}}]"


OVERLOAD = f"""
overload_manager:
  refresh_interval: 0.05s
  resource_monitors:
  - name: {MONITOR}
    typed_config: {{"@type": {TYPE}extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: <<dir>>/pressure}}
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config: {{"@type": {TYPE}extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 1000}}
  actions:
  - {{name: envoy.overload_actions.disable_http_keepalive, {trigger(0.2)}}}
  - {{name: envoy.overload_actions.stop_accepting_requests, {trigger(0.4)}}}
  - {{name: envoy.overload_actions.reject_incoming_connections, {trigger(0.8)}}}
  - name: envoy.overload_actions.reduce_timeouts
    triggers: [{{name: {MONITOR}, scaled: {{scaling_threshold: 0.1, saturation_threshold: 0.3}}}}]
    typed_config:
      "@type": {TYPE}config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors: [{{timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.3s}}]
  loadshed_points:
  - {{name: envoy.load_shed_points.hcm_ondata_creating_codec, {trigger(0.6)}}}
"""
GROUP = SideConfig(
    bootstrap([http("main"), http("bypass", listener_options="bypass_overload_manager: true")], [cluster("up")], OVERLOAD),
    files={"pressure": "0.0"},
)


def press(pair: Pair, pressure: float) -> None:
    """Set the pressure on both sides and wait until it is felt."""
    percent = int(pressure * 100)

    def felt(side: Side) -> bool:
        return f"overload.{MONITOR}.pressure: {percent}" in overload_stats(side)

    for side in pair.sides:
        fresh = side.folder / "pressure.new"
        fresh.write_text(str(pressure))
        fresh.rename(side.folder / "pressure")
    for side in pair.sides:
        assert wait_for(lambda side=side: felt(side), 5), side.kind  # type: ignore[misc]


def overload_stats(side: Side) -> str:
    assert side.process is not None
    lines = side.process.admin("/stats?filter=^overload").body.splitlines()
    return "\n".join(line for line in lines if "_updates: " not in line and "interval_delay" not in line)


CASES = [
    (0.0, Case("calm", get())),
    (0.25, Case("keepalive_ends", get())),
    (0.45, Case("requests_refused", get(), 503)),
    (0.45, Case("requests_served_bypass", get(), listener="bypass")),
    (0.65, Case("codec_refused", get(), [], responses=0, to_end=True, logs=0, response=False)),
    (0.9, Case("connections_rejected", get(), [], responses=0, to_end=True, logs=0, response=False, expect_stats=["listener.127.0.0.1_{port:main}.downstream_cx_overload_reject"])),
    (0.0, Case("calm_again", get())),
]


@pytest.mark.parametrize(("pressure", "case"), CASES, ids=lambda each: each.name if isinstance(each, Case) else str(each))
def test_overload(pair: Pair, pressure: float, case: Case) -> None:
    press(pair, pressure)
    pair.check(case)
    pair.same([overload_stats(side) for side in pair.sides], "overload stats")


def test_idle_timeout_is_reduced(pair: Pair) -> None:
    """A connection that is idle already is closed soon after the pressure has risen."""
    press(pair, 0.0)
    pair.check(Case("idle", [get()], 200, listener="main"))
    press(pair, 0.35)
    pair.check(Case("idle_reduced", [0.01], [], responses=0, to_end=True, logs=0, time_within=1.0))
    press(pair, 0.0)
