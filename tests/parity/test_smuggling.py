"""The table of raw messages that proxies have got wrong (tests/http/http1), live: both sides give the same answers.

What the upstream gets, and how responses are read, is compared case by case with Envoy's recorded answers in
tests/http/http1; here whole processes answer, all cases side by side.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.http.http1.smuggling_cases import CASES, LISTENERS, STRICTER
from tests.parity.harness.config import bootstrap, cluster, http
from tests.parity.harness.normal import grouped, printable
from tests.parity.harness.pair import Pair
from tests.parity.harness.side import Side, SideConfig
from tests.support.raw_client import RawClient

_TRAILING = "[{name: a, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: trailers}}]}]"

GROUP = SideConfig(
    bootstrap(
        [http(name, _TRAILING, options=str(options)) for name, options in LISTENERS.items()],
        [
            cluster("up"),
            cluster(
                "trailers", "<<up:up>>",
                protocol="explicit_http_config: {http_protocol_options: {enable_trailers: true}}",
            ),
        ],
    )
)
# After this much silence an answer counts as complete: closed connections linger for a second on both sides.
QUIET_SECONDS = 0.5


def answers(side: Side) -> dict[str, str]:
    """What each case of the table got back."""

    def run(case: object) -> tuple[str, str]:
        assert isinstance(case, type(CASES[0]))
        client = RawClient(("127.0.0.1", side.port_of(f"port:{case.listener}")), to_head=b"HEAD " in case.parts[0][:6])
        try:
            for part in case.parts:
                client.send(part)
                client.read_to_end(0.03)
            seen = -1
            while seen != len(client.transcript.received) and client.transcript.end == "open":
                seen = len(client.transcript.received)
                client.read_to_end(QUIET_SECONDS)
        finally:
            client.close()
        return case.name, grouped(side.normalizer()(printable(client.transcript.received)))

    with ThreadPoolExecutor(16) as threads:
        return dict(threads.map(run, CASES))


def test_smuggling_table(pair: Pair) -> None:
    envoy, *others = (answers(side) for side in pair.sides)
    assert sum("HTTP/1.1 200 OK" in text for text in envoy.values()) > 30
    assert sum("HTTP/1.1 400 Bad Request" in text for text in envoy.values()) > 60
    for ours in others:
        # The preface makes it an HTTP/2 connection.
        different = [
            name for name in envoy
            if envoy[name] != ours[name] and name not in STRICTER and name != "start-h2-preface"
        ]
        for name in STRICTER:
            # Refused, and no more than that.
            if name in ours and ours[name] != envoy[name]:
                assert " 400 " in ours[name] or not ours[name], f"{name}\n{ours[name]}"
        if different:
            pytest.fail(
                "\n".join(f"=== {name}\nEnvoy:\n{envoy[name]}\nOutrider:\n{ours[name]}" for name in different),
                pytrace=False,
            )
