"""The state-of-the-world form: what is asked, what is told, what is answered."""

from __future__ import annotations

import logging

import pytest

from outrider.config.subscription import CONNECTION_FAILURE, FETCH_TIMEOUT, UPDATE_REJECTED
from outrider.xds.transport.grpc_stream import RateLimit
from tests.xds.fakes import CLUSTER, ENDPOINT, URL, Scene, assignment, cluster, pack, response, wrapper


def test_first_request_ack_and_nack() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    (request,) = scene.requests()
    assert request.type_url == URL + CLUSTER
    assert (request.version_info, request.response_nonce, list(request.resource_names)) == ("", "", [])
    assert request.node.id == "me"

    scene.answer(response(CLUSTER, "v1", "n1", cluster("a"), cluster("b")))
    assert memory.states == [(["a", "b"], "v1")]
    (ack,) = scene.requests()
    assert (ack.version_info, ack.response_nonce, ack.HasField("error_detail")) == ("v1", "n1", False)

    memory.refuse = "bad cluster"
    scene.answer(response(CLUSTER, "v2", "n2", cluster("c")))
    (nack,) = scene.requests()
    assert (nack.version_info, nack.response_nonce) == ("v1", "n2")
    assert (nack.error_detail.code, nack.error_detail.message) == (13, "bad cluster")
    assert memory.failures == [(UPDATE_REJECTED, "bad cluster")]

    memory.refuse = ""
    scene.answer(response(CLUSTER, "v3", "n3"))
    (ack,) = scene.requests()
    assert (ack.version_info, ack.response_nonce, ack.HasField("error_detail")) == ("v3", "n3", False)
    assert memory.states[-1] == ([], "v3")
    assert scene.value("s.update_attempt") == 4
    assert scene.value("s.update_success") == 2
    assert scene.value("s.update_rejected") == 1
    assert scene.value("s.version_text") == "v3"


def test_node_only_in_the_first_message_of_each_stream() -> None:
    scene = Scene(node_once=True)
    for kind in (CLUSTER, ENDPOINT):
        scene.subscribe(kind)[0].start(None)
    scene.mux.start()
    assert [each.HasField("node") for each in scene.requests()] == [True, False]
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    scene.dispatcher.advance(1)
    assert [each.HasField("node") for each in scene.requests()] == [True, False]


def test_names_are_the_union_of_the_watches() -> None:
    scene = Scene()
    scene.mux.start()
    first, first_memory = scene.subscribe(ENDPOINT)
    second, second_memory = scene.subscribe(ENDPOINT)
    first.start(["b", "a"])
    second.start(["c", "a"])
    assert [list(each.resource_names) for each in scene.requests()] == [["a", "b"], ["a", "c", "b"]]
    scene.answer(response(ENDPOINT, "1", "1", assignment("c"), assignment("unasked")))
    assert first_memory.states == []
    assert second_memory.states == [(["c"], "1")]
    scene.requests()
    second.close()
    assert [list(each.resource_names) for each in scene.requests()] == [["a", "b"]]
    first.update_interest(["z"])
    assert [list(each.resource_names) for each in scene.requests()] == [[], ["z"]]


def test_pause_holds_requests_back_and_merges_them() -> None:
    scene = Scene()
    scene.mux.start()
    scene.mux.pause(ENDPOINT)
    scene.mux.pause(ENDPOINT)
    for name in "ab":
        scene.subscribe(ENDPOINT)[0].start([name])
    scene.mux.resume(ENDPOINT)
    assert scene.requests() == []
    scene.mux.resume(ENDPOINT)
    assert [list(each.resource_names) for each in scene.requests()] == [["b", "a"]]


def test_a_new_stream_asks_again_in_the_same_order_with_versions_and_without_nonces() -> None:
    scene = Scene()
    for kind in (CLUSTER, ENDPOINT):
        scene.subscribe(kind)[0].start(None)
    scene.mux.start()
    scene.answer(response(CLUSTER, "v1", "n1"))
    scene.requests()
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    assert scene.value("control_plane.connected_state") == 0
    scene.dispatcher.advance(0.5)
    assert len(scene.client.streams) == 2
    assert [(each.type_url, each.version_info, each.response_nonce) for each in scene.requests()] == [
        (URL + CLUSTER, "v1", ""),
        (URL + ENDPOINT, "", ""),
    ]
    assert scene.value("control_plane.connected_state") == 1


def test_a_connection_failure_is_told_and_what_is_there_stays() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.client.refuse = 14
    scene.mux.start()
    assert memory.failures == [(CONNECTION_FAILURE, "")]
    assert scene.value("s.update_failure") == 1
    scene.client.refuse = None
    scene.dispatcher.advance(1)
    assert len(scene.requests()) == 1


def test_wrong_type_inside_is_refused() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    scene.answer(response(CLUSTER, "v1", "n1", assignment("a")))
    (nack,) = scene.requests()
    assert nack.error_detail.message.startswith(
        f"{URL}{ENDPOINT} does not match the message-wide type URL {URL}{CLUSTER} in DiscoveryResponse version_info"
    )
    assert memory.states == []


def test_a_resource_that_is_no_message_is_refused() -> None:
    scene = Scene()
    scene.subscribe(CLUSTER)[0].start(None)
    scene.mux.start()
    scene.requests()
    broken = pack(cluster("a"))
    broken.value = b"\xff\xff\xff"
    scene.answer(response(CLUSTER, "v1", "n1", broken))
    (nack,) = scene.requests()
    assert "Unable to unpack as envoy.config.cluster.v3.Cluster" in nack.error_detail.message


def test_broken_constraints_are_refused_with_the_resource_and_the_field() -> None:
    scene = Scene()
    scene.subscribe(CLUSTER)[0].start(None)
    scene.mux.start()
    scene.requests()
    wrong = cluster("a")
    wrong.connect_timeout.seconds = 0
    scene.answer(response(CLUSTER, "v1", "n1", wrong))
    (nack,) = scene.requests()
    assert "Cluster[a].connect_timeout" in nack.error_detail.message


def test_long_errors_are_cut() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    memory.refuse = "x" * 5000
    scene.answer(response(CLUSTER, "v1", "n1"))
    (nack,) = scene.requests()
    assert nack.error_detail.message == "x" * 4096 + "...(truncated)"


def test_answers_nobody_waits_for_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.mux.start()
    scene.answer(response(CLUSTER, "v1", "n1"))
    assert "Ignoring the message for type URL type.googleapis.com/envoy.config.cluster.v3.Cluster" in caplog.text
    subscription, _ = scene.subscribe(CLUSTER)
    subscription.start(None)
    subscription.close()
    scene.requests()
    scene.answer(response(CLUSTER, "v1", "n2", cluster("a")))
    assert "Ignoring unwatched type URL" in caplog.text
    (nack,) = scene.requests()
    assert (nack.version_info, nack.response_nonce) == ("", "n2")


def test_garbage_ends_the_stream_which_comes_back() -> None:
    scene = Scene()
    scene.subscribe(CLUSTER)[0].start(None)
    scene.mux.start()
    first = scene.client.stream
    scene.answer(b"\xff\xff\xff\xff")
    assert first.was_reset
    scene.dispatcher.advance(1)
    assert scene.client.stream is not first
    assert len(scene.requests()) == 1


def test_a_fault_of_ours_is_a_nack_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()

    def explode(resources: object, version: str) -> None:
        raise KeyError("lost")

    memory.on_state = explode  # type: ignore[method-assign, assignment]
    scene.answer(response(CLUSTER, "v1", "n1"))
    (nack,) = scene.requests()
    assert nack.error_detail.message == "internal error: KeyError: 'lost'"


def test_initial_fetch_timeout() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER, fetch_s=15.0)
    subscription.start(None)
    scene.mux.start()
    scene.dispatcher.advance(14)
    assert memory.failures == []
    scene.dispatcher.advance(2)
    assert memory.failures == [(FETCH_TIMEOUT, "")]
    assert scene.value("s.init_fetch_timeout") == 1
    scene.answer(response(CLUSTER, "v1", "n1"))
    assert memory.states == [([], "v1")]


def test_no_timeout_after_an_answer() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER, fetch_s=15.0)
    subscription.start(None)
    scene.mux.start()
    scene.answer(response(CLUSTER, "v1", "n1"))
    scene.dispatcher.advance(20)
    assert memory.failures == []


def test_heartbeats_alone_do_not_empty_a_wildcard() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.answer(response(CLUSTER, "v1", "n1", pack(wrapper("a", "1", cluster("a"), ttl_s=3)), cluster("b")))
    assert memory.states == [(["a", "b"], "v1")]
    scene.dispatcher.advance(2)
    scene.requests()
    scene.answer(response(CLUSTER, "v1", "n2", pack(wrapper("a", "1", ttl_s=3))))
    assert len(memory.states) == 1
    assert [each.response_nonce for each in scene.requests()] == ["n2"]
    scene.dispatcher.advance(2)
    assert memory.deltas == []
    scene.dispatcher.advance(2)
    assert memory.deltas == [([], ["a"], "")]


def test_what_is_not_renewed_is_told_as_removed() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(ENDPOINT)
    subscription.start(["a", "b"])
    scene.mux.start()
    scene.answer(response(ENDPOINT, "v1", "n1", pack(wrapper("a", "1", assignment("a"), ttl_s=3))))
    scene.dispatcher.advance(2)
    scene.answer(response(ENDPOINT, "v1", "n2", pack(wrapper("a", "1", ttl_s=3))))
    assert len(memory.states) == 1
    scene.dispatcher.advance(2)
    assert memory.deltas == []
    scene.dispatcher.advance(2)
    assert memory.deltas == [([], ["a"], "")]


def test_rate_limit() -> None:
    scene = Scene(limit=RateLimit(2, 1.0))
    scene.mux.start()
    for number in range(4):
        scene.subscribe(ENDPOINT)[0].start([f"e{number}"])
    assert len(scene.requests()) == 2
    assert scene.value("control_plane.rate_limit_enforced") == 2
    assert scene.value("control_plane.pending_requests") == 2
    scene.dispatcher.advance(1)
    (request,) = scene.requests()
    assert len(request.resource_names) == 4
    scene.dispatcher.advance(1)
    assert scene.value("control_plane.pending_requests") == 0


def test_control_plane_identifier() -> None:
    scene = Scene()
    scene.subscribe(CLUSTER)[0].start(None)
    scene.mux.start()
    answer = response(CLUSTER, "v1", "n1")
    answer.control_plane.identifier = "cp-1"
    scene.answer(answer)
    assert scene.value("control_plane.identifier") == "cp-1"


def test_a_big_answer_gives_the_loop_its_turn() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    scene.answer(response(CLUSTER, "v1", "n1", *(cluster(f"c{number}") for number in range(3000))), settle=False)
    assert memory.states == [] and len(scene.dispatcher.posted) == 1
    # What comes meanwhile waits its turn, in order.
    scene.answer(response(CLUSTER, "v2", "n2", cluster("last")), settle=False)
    turns = 0
    while scene.dispatcher.posted:
        scene.dispatcher.turn()
        turns += 1
    assert turns > 1
    assert [(len(names), version) for names, version in memory.states] == [(3000, "v1"), (1, "v2")]
    assert [each.response_nonce for each in scene.requests()] == ["n1", "n2"]


def test_an_answer_decoded_across_a_reconnect_is_applied_but_not_acknowledged() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.answer(response(CLUSTER, "v1", "n1", *(cluster(f"c{number}") for number in range(3000))), settle=False)
    assert memory.states == []
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    scene.dispatcher.advance(1)
    scene.requests()
    while scene.dispatcher.posted:
        scene.dispatcher.turn()
    assert [version for _, version in memory.states] == ["v1"]
    assert scene.requests() == []


@pytest.mark.parametrize(
    ("status", "level"), [(0, logging.DEBUG), (13, logging.WARNING), (14, logging.DEBUG), (7, logging.WARNING)]
)
def test_how_the_end_of_a_stream_is_logged(caplog: pytest.LogCaptureFixture, status: int, level: int) -> None:
    caplog.set_level(logging.DEBUG, "outrider.config")
    scene = Scene()
    scene.mux.start()
    scene.client.stream.callbacks.on_remote_close(status, "so it is")
    (record,) = [each for each in caplog.records if "closed" in each.getMessage()]
    assert record.getMessage() == f"StreamX gRPC config stream to xds closed: {status}, so it is"
    assert record.levelno == level


def test_an_outage_is_said_aloud_when_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "outrider.config")
    scene = Scene()
    scene.client.refuse = 14
    scene.mux.start()
    scene.dispatcher.advance(25)
    assert caplog.text == ""
    scene.dispatcher.advance(60)
    assert "StreamX gRPC config stream to xds closed since" in caplog.text


def test_closing_ends_everything() -> None:
    scene = Scene()
    subscription, memory = scene.subscribe(CLUSTER, owns=True, fetch_s=15)
    subscription.start(None)
    stream = scene.client.stream
    subscription.close()
    assert stream.was_reset
    assert scene.dispatcher.timers() == 0
    scene.answer(response(CLUSTER, "v1", "n1"))
    assert memory.states == []
