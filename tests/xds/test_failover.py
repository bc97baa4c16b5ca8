"""Two servers: when the second is used, and when the first again."""

from __future__ import annotations

from typing import Any

from outrider.xds.subscription_stats import ControlPlaneStats
from outrider.xds.transport.back_off import BackOff
from outrider.xds.transport.failover import FailoverStream
from outrider.xds.transport.grpc_stream import ConfigStream
from tests.xds.fakes import CLUSTER, FakeClient, Scene, response


class Two(Scene):
    """`client` is the first server, `second` the other."""

    def __init__(self) -> None:
        super().__init__()
        self.second = FakeClient()
        assert isinstance(self.mux.stream, ConfigStream)
        other = ConfigStream(
            self.second, "S", "StreamX", self.mux, self.dispatcher, ControlPlaneStats(self.store), BackOff(), None, "b"
        )
        self.mux.stream = FailoverStream(self.mux.stream, other, self.mux)
        self.subscription, self.memory = self.subscribe(CLUSTER)
        self.subscription.start(None)

    def answer_from(self, client: FakeClient, message: Any) -> None:
        client.stream.callbacks.on_message(message.SerializeToString())
        while self.dispatcher.posted:
            self.dispatcher.turn()


def test_the_second_is_used_after_two_failures_of_the_first() -> None:
    scene = Two()
    scene.client.refuse = 14
    scene.mux.start()
    assert (scene.client.attempts, scene.second.attempts) == (1, 0)
    scene.dispatcher.advance(0.5)
    assert (scene.client.attempts, scene.second.attempts) == (2, 1)
    assert len(scene.second.stream.take()) == 1
    scene.answer_from(scene.second, response(CLUSTER, "v1", "n1"))
    assert scene.memory.states == [([], "v1")]
    assert scene.second.stream.take()[0].version_info == "v1"
    # The first is left alone meanwhile.
    scene.dispatcher.advance(60)
    assert scene.client.attempts == 2


def test_the_first_again_when_the_second_breaks_off() -> None:
    scene = Two()
    scene.client.refuse = 14
    scene.mux.start()
    scene.dispatcher.advance(0.5)
    scene.client.refuse = None
    scene.second.stream.callbacks.on_remote_close(0, "bye")
    assert scene.client.attempts == 2
    scene.dispatcher.advance(0.5)
    assert (scene.client.attempts, scene.second.attempts) == (3, 1)
    scene.answer(response(CLUSTER, "v1", "n1"))
    assert scene.memory.states == [([], "v1")]


def test_a_first_that_was_there_is_waited_for() -> None:
    scene = Two()
    scene.mux.start()
    scene.answer(response(CLUSTER, "v1", "n1"))
    scene.client.refuse = 14
    scene.client.stream.callbacks.on_remote_close(14, "gone")
    scene.dispatcher.advance(120)
    assert scene.client.attempts > 5
    assert scene.second.attempts == 0


def test_neither() -> None:
    scene = Two()
    scene.client.refuse = scene.second.refuse = 14
    scene.mux.start()
    scene.dispatcher.advance(10)
    assert scene.client.attempts >= 4 and scene.second.attempts >= 2
    scene.mux.close()
    before = scene.client.attempts, scene.second.attempts
    scene.dispatcher.advance(60)
    assert (scene.client.attempts, scene.second.attempts) == before
    assert scene.dispatcher.timers() == 0
