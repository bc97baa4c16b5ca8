"""The incremental form: what is asked, what is told, what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.config.subscription import CONNECTION_FAILURE, UPDATE_REJECTED
from outrider.xds.transport.grpc_stream import RateLimit
from tests.xds.fakes import CLUSTER, ENDPOINT, URL, Scene, assignment, cluster, delta_response, wrapper


def told(requests: list[Any]) -> list[tuple[list[str], list[str], str]]:
    return [
        (list(each.resource_names_subscribe), list(each.resource_names_unsubscribe), each.response_nonce)
        for each in requests
    ]


def test_wildcard_changes_and_reconnect() -> None:
    scene = Scene(delta=True)
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    assert told(scene.requests()) == [([], [], "")]
    scene.answer(delta_response(CLUSTER, "s1", "n1", wrapper("a", "1", cluster("a")), wrapper("b", "1", cluster("b"))))
    scene.answer(delta_response(CLUSTER, "s2", "n2", wrapper("a", "2", cluster("a", 2)), removed=("b",)))
    scene.answer(delta_response(CLUSTER, "s3", "n3"))
    assert memory.deltas == [(["a", "b"], [], "s1"), (["a"], ["b"], "s2"), ([], [], "s3")]
    assert told(scene.requests()) == [([], [], "n1"), ([], [], "n2"), ([], [], "n3")]
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    assert memory.failures == [(CONNECTION_FAILURE, "")]
    scene.dispatcher.advance(1)
    (request,) = scene.requests()
    assert dict(request.initial_resource_versions) == {"a": "2"}
    assert request.response_nonce == ""


def test_each_watch_is_told_of_its_own() -> None:
    scene = Scene(delta=True)
    scene.mux.start()
    (first, first_memory), (second, second_memory) = scene.subscribe(ENDPOINT), scene.subscribe(ENDPOINT)
    first.start(["a", "b"])
    second.start(["b"])
    assert told(scene.requests()) == [(["a", "b"], [], "")]
    scene.answer(
        delta_response(ENDPOINT, "s1", "n1", wrapper("a", "1", assignment("a")), wrapper("b", "1", assignment("b")))
    )
    assert first_memory.deltas == [(["a", "b"], [], "s1")]
    assert second_memory.deltas == [(["b"], [], "s1")]
    scene.requests()
    first.update_interest(["a", "c"])
    assert told(scene.requests()) == [(["c"], [], "")]
    second.close()
    assert told(scene.requests()) == [([], ["b"], "")]
    scene.answer(delta_response(ENDPOINT, "s2", "n2", removed=("a",)))
    assert first_memory.deltas[-1] == ([], ["a"], "s2")
    assert len(second_memory.deltas) == 1


def test_on_demand() -> None:
    scene = Scene(delta=True)
    subscription, _ = scene.subscribe(ENDPOINT)
    subscription.start(["a"])
    scene.mux.start()
    scene.requests()
    subscription.request_on_demand(["z", "y"])
    assert told(scene.requests()) == [(["y", "z"], [], "")]


def test_nack_and_after() -> None:
    scene = Scene(delta=True)
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    memory.refuse = "no such thing"
    scene.answer(delta_response(CLUSTER, "s1", "n1", wrapper("a", "1", cluster("a"))))
    (nack,) = scene.requests()
    assert (nack.response_nonce, nack.error_detail.code, nack.error_detail.message) == ("n1", 13, "no such thing")
    assert memory.failures == [(UPDATE_REJECTED, "no such thing")]
    memory.refuse = ""
    scene.answer(delta_response(CLUSTER, "s2", "n2", wrapper("b", "1", cluster("b"))))
    (ack,) = scene.requests()
    assert not ack.HasField("error_detail")
    # What was refused is not ours.
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    scene.dispatcher.advance(1)
    assert dict(scene.requests()[0].initial_resource_versions) == {"b": "1"}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            delta_response(CLUSTER, "s", "n", wrapper("a", "1", cluster("a")), wrapper("a", "2", cluster("a"))),
            "duplicate name a found among added/updated resources",
        ),
        (
            delta_response(CLUSTER, "s", "n", wrapper("a", "1", cluster("a")), removed=("a",)),
            "duplicate name a found in the union of added+removed resources",
        ),
        (
            delta_response(CLUSTER, "s", "n", wrapper("a", "1", assignment("a"))),
            f"type URL {URL}{ENDPOINT} embedded in an individual Any does not match the message-wide type URL "
            f"{URL}{CLUSTER} in DeltaDiscoveryResponse system_version_info",
        ),
        (
            delta_response(CLUSTER, "s", "n", wrapper("a", "1")),
            f"type URL  embedded in an individual Any does not match the message-wide type URL {URL}{CLUSTER} in ",
        ),
    ],
)
def test_malformed_answers_are_refused(answer: Any, text: str) -> None:
    scene = Scene(delta=True)
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    scene.answer(answer)
    (nack,) = scene.requests()
    assert nack.error_detail.message.startswith(text)
    assert memory.deltas == []


def test_heartbeat_renews_and_silence_removes() -> None:
    scene = Scene(delta=True)
    subscription, memory = scene.subscribe(ENDPOINT)
    subscription.start(["a"])
    scene.mux.start()
    scene.answer(delta_response(ENDPOINT, "s1", "n1", wrapper("a", "1", assignment("a"), ttl_s=3)))
    scene.dispatcher.advance(2)
    scene.requests()
    scene.answer(delta_response(ENDPOINT, "s1", "n2", wrapper("a", "1", ttl_s=3)))
    assert told(scene.requests()) == [([], [], "n2")]
    assert len(memory.deltas) == 1
    scene.dispatcher.advance(2)
    assert len(memory.deltas) == 1
    scene.dispatcher.advance(2)
    assert memory.deltas[-1] == ([], ["a"], "")
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    scene.dispatcher.advance(1)
    assert dict(scene.requests()[0].initial_resource_versions) == {}


def test_aliases_reach_who_asked_by_them() -> None:
    scene = Scene(delta=True)
    subscription, memory = scene.subscribe(ENDPOINT)
    subscription.start(["alias"])
    scene.mux.start()
    scene.answer(delta_response(ENDPOINT, "s1", "n1", wrapper("real", "1", assignment("real"), aliases=("alias",))))
    assert memory.deltas == [(["real"], [], "s1")]
    assert memory.resources[0].aliases == ("alias",)


def test_acks_go_first_and_wait_while_their_type_is_paused() -> None:
    scene = Scene(delta=True)
    clusters, _ = scene.subscribe(CLUSTER)
    clusters.start(None)
    scene.mux.start()
    scene.requests()
    scene.mux.pause(ENDPOINT)
    endpoints, _ = scene.subscribe(ENDPOINT)
    endpoints.start(["a"])
    scene.answer(delta_response(CLUSTER, "s1", "n1"))
    assert [(each.type_url, each.response_nonce) for each in scene.requests()] == [(URL + CLUSTER, "n1")]
    scene.mux.resume(ENDPOINT)
    assert [(each.type_url, each.response_nonce) for each in scene.requests()] == [(URL + ENDPOINT, "")]
    scene.mux.pause(ENDPOINT)
    scene.answer(delta_response(ENDPOINT, "s2", "n2"))
    assert scene.requests() == []
    scene.mux.resume(ENDPOINT)
    assert [each.response_nonce for each in scene.requests()] == ["n2"]


def test_rate_limit() -> None:
    scene = Scene(delta=True, limit=RateLimit(1, 1.0))
    subscription, _ = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    assert len(scene.requests()) == 1
    scene.answer(delta_response(CLUSTER, "s1", "n1"))
    scene.answer(delta_response(CLUSTER, "s2", "n2"))
    assert scene.requests() == []
    assert scene.value("control_plane.pending_requests") == 2
    scene.dispatcher.advance(1)
    scene.dispatcher.advance(1)
    assert [each.response_nonce for each in scene.requests()] == ["n1", "n2"]


def test_one_of_many_is_cheap() -> None:
    scene = Scene(delta=True)
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.answer(delta_response(CLUSTER, "s1", "n1", *(wrapper(f"c{n}", "1", cluster(f"c{n}")) for n in range(2000))))
    while scene.dispatcher.posted:
        scene.dispatcher.turn()
    scene.answer(delta_response(CLUSTER, "s2", "n2", wrapper("c7", "2", cluster("c7", 2))))
    assert memory.deltas[-1] == (["c7"], [], "s2")
    assert scene.dispatcher.posted == []


def test_unknown_types_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(delta=True)
    scene.mux.start()
    scene.answer(delta_response(CLUSTER, "s1", "n1"))
    assert "Dropping received DeltaDiscoveryResponse (with version s1) for non-existent subscription" in caplog.text
