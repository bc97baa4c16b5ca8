"""Every case of the table: the same verdict as Envoy's codec, or a refusal where we are stricter on purpose."""

from __future__ import annotations

import pytest

from tests.http.http1.smuggling_cases import CASES, STRICTER, UPSTREAM_CASES, Case, envoy_answers
from tests.http.http1.smuggling_verdicts import (
    envoy_response_verdict,
    envoy_verdicts,
    our_response_verdict,
    our_verdicts,
    server_for,
)

ANSWERS = envoy_answers()
# Envoy's answer depends on an upstream that goes on after the first bytes; ours is compared up to there.
_TUNNELS = ("up-101", "up-connect-200", "up-connect-200-length", "up-connect-200-chunked")
# Envoy closes the client's connection before the body of a refused upgrade is read.
_REFUSED_UPGRADES = ("up-upgrade-200", "up-upgrade-403", "up-connect-403", "up-connect-403-chunked")


def test_the_recording_is_whole() -> None:
    assert {case.name for case in CASES + UPSTREAM_CASES} == set(ANSWERS)
    assert set(STRICTER) <= set(ANSWERS)
    assert len(CASES) > 300


@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytes"])
def test_request(case: Case, split: bool) -> None:
    theirs = envoy_verdicts(ANSWERS[case.name])
    server = server_for(case)
    for part in case.parts:
        server.feed(*([part[at : at + 1] for at in range(len(part))] if split else [part]))
    ours = our_verdicts(case, server)
    if case.name in STRICTER:
        assert server.error is not None
        assert ours[-1].refusal is not None and ours[-1].refusal[0] == 400
        return
    if split and len(theirs) < len(ours) and server.wire.connection.state != 1:
        # Envoy had answered, and closed, before the rest was read.
        ours = ours[: len(theirs)]
    assert len(ours) == len(theirs), (ours, theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.refusal == their.refusal
        assert our.complete == their.complete
        if their.accepted is not None:
            assert our.accepted == their.accepted


@pytest.mark.parametrize("case", UPSTREAM_CASES, ids=repr)
def test_response(case: Case) -> None:
    outcome, status, body = envoy_response_verdict(ANSWERS[case.name])
    ours = our_response_verdict(case)
    if case.name in STRICTER:
        assert ours[0] == "protocol_error"
    elif case.name in _TUNNELS:
        assert ours[:2] == (outcome, status)
        assert ours[2] and body.startswith(ours[2])
    elif case.name in _REFUSED_UPGRADES:
        assert ours[:2] == (outcome, status)
    elif case.name == "up-head-60k" or case.name == "up-head-81000":
        # Envoy's default limit for responses is 80 KiB.
        assert ours == ("ok", 200, "ok")
    else:
        assert ours == (outcome, status, body)
