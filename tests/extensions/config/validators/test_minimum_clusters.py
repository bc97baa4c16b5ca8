"""The fewest clusters an update may leave, in both forms."""

from __future__ import annotations

import pytest

from outrider.extensions.config.validators.minimum_clusters import MinimumClusters
from tests.xds.fakes import CLUSTER, ENDPOINT, Scene, cluster, delta_response, response, wrapper

TEXT = "CDS update attempts to reduce clusters below configured minimum."


def test_state_of_the_world() -> None:
    scene = Scene()
    scene.mux.validators = [MinimumClusters(2)]
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    scene.answer(response(CLUSTER, "1", "1", cluster("a"), cluster("b")))
    scene.answer(response(CLUSTER, "2", "2", cluster("a")))
    assert memory.states == [(["a", "b"], "1")]
    assert [each.error_detail.message for each in scene.requests()] == ["", TEXT]


def test_incremental() -> None:
    scene = Scene(delta=True)
    scene.mux.validators = [MinimumClusters(2)]
    subscription, memory = scene.subscribe(CLUSTER)
    subscription.start(None)
    scene.mux.start()
    scene.requests()
    scene.answer(delta_response(CLUSTER, "1", "1", *(wrapper(name, "1", cluster(name)) for name in "abc")))
    scene.answer(delta_response(CLUSTER, "2", "2", removed=("a",)))
    scene.answer(delta_response(CLUSTER, "3", "3", removed=("b",)))
    scene.answer(delta_response(CLUSTER, "4", "4", wrapper("d", "1", cluster("d")), removed=("b",)))
    assert [version for _, _, version in memory.deltas] == ["1", "2", "4"]
    assert [each.error_detail.message for each in scene.requests()] == ["", "", TEXT, ""]


@pytest.mark.parametrize("delta", [False, True])
def test_other_types_are_no_concern(delta: bool) -> None:
    scene = Scene(delta=delta)
    scene.mux.validators = [MinimumClusters(2)]
    subscription, memory = scene.subscribe(ENDPOINT)
    subscription.start(None)
    scene.mux.start()
    scene.answer(delta_response(ENDPOINT, "1", "1") if delta else response(ENDPOINT, "1", "1"))
    assert memory.states or memory.deltas
