"""`config_sources` and `default_config_source`: which stream a name with an authority goes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from outrider.config.errors import ConfigError
from outrider.config.view import View
from outrider.event.dispatcher import Dispatcher
from outrider.factory_context import FactoryContext
from outrider.grpc.client import GrpcClient
from outrider.xds.factory import XdsSubscriptions
from tests.config.messages import view_of
from tests.xds.fakes import ENDPOINT, FakeClient, Memory, assignment, pack, response, wrapper
from tests.xds.scene import API_SOURCE, SOURCE, World, grpc_source


def source(*authorities: str, api_type: str = "AGGREGATED_GRPC", cluster: str = "xds") -> View:
    services = [{"envoy_grpc": {"cluster_name": cluster}}]
    return view_of(
        SOURCE,
        {
            "authorities": [{"name": name} for name in authorities],
            "api_config_source": {"api_type": api_type, "grpc_services": services},
        },
        "source",
    )


class Clients:
    """A fake client for each source, in the order in which they are made."""

    def __init__(self) -> None:
        self.made: list[FakeClient] = []

    def __call__(self, view: View, context: FactoryContext, must_exist: bool = False) -> GrpcClient:
        self.made.append(FakeClient())
        return self.made[-1]


class Scene:
    def __init__(self, sources: Sequence[View], default: View | None = None, ads: bool = True) -> None:
        self.world = World(1)
        self.clients = Clients()
        view = view_of(API_SOURCE, grpc_source(), "ads") if ads else None
        assert isinstance(self.world.dispatcher, Dispatcher)
        self.sources = XdsSubscriptions(
            self.world.context, view, make_client=self.clients, config_sources=sources, default_config_source=default
        )

    def subscribe(self, name: str) -> Memory:
        memory = Memory()
        subscription = self.sources.subscribe(None, ENDPOINT, memory, self.world.store.scope("s."))
        self.world.run(subscription.start, [name])
        return memory


def name(authority: str) -> str:
    return f"xdstp://{authority}/{ENDPOINT}/a"


def test_each_authority_has_its_stream() -> None:
    scene = Scene([source("one", "two"), source("three", api_type="AGGREGATED_DELTA_GRPC")], source())
    world = scene.world
    try:
        ads, first, second, default = scene.clients.made
        world.run(scene.sources.start)
        assert [each.stream.method for each in scene.clients.made] == [
            "StreamAggregatedResources", "StreamAggregatedResources", "DeltaAggregatedResources",
            "StreamAggregatedResources",
        ]  # fmt: skip
        memory = scene.subscribe(name("two"))
        for authority in ("three", "elsewhere"):
            scene.subscribe(name(authority))
        scene.subscribe("plain")
        asked: list[Any] = [each.stream.take() for each in (ads, first, default)]
        assert [[list(request.resource_names) for request in each] for each in asked] == [
            [["plain"]], [[name("two")]], [[name("elsewhere")]],
        ]  # fmt: skip
        assert list(second.stream.take()[0].resource_names_subscribe) == [name("three")]
        answer = response(ENDPOINT, "v", "n", pack(wrapper(name("two"), "1", assignment("x"))))
        world.run(first.stream.callbacks.on_message, answer.SerializeToString())
        world.until(lambda: memory.states)
        world.run(scene.sources.close)
        assert all(each.stream.was_reset for each in scene.clients.made)
    finally:
        world.close()


def test_an_authority_nobody_serves_goes_to_ads_if_there_is_one() -> None:
    scene = Scene([source("one")])
    try:
        scene.world.run(scene.sources.start)
        scene.subscribe(name("elsewhere"))
        assert list(scene.clients.made[0].stream.take()[0].resource_names) == [name("elsewhere")]
    finally:
        scene.world.close()
    alone = Scene([source("one")], ads=False)
    try:
        with pytest.raises(ConfigError, match="ADS must be configured"):
            alone.subscribe(name("elsewhere"))
    finally:
        alone.world.close()


@pytest.mark.parametrize(
    ("views", "text"),
    [
        ([source()], "xdstp-based non-default config source must have at least one authority."),
        (
            [source("a"), source("b", "a")],
            "xdstp-based config source authority a is configured more than once in an xdstp-based config source.",
        ),
        (
            [source("a", api_type="GRPC")],
            "xdstp-based config source authority only supports AGGREGATED_GRPC and AGGREGATED_DELTA_GRPC types.",
        ),
        (
            [view_of(SOURCE, {"authorities": [{"name": "a"}], "ads": {}}, "source")],
            "Only api_config_source type is currently supported for xdstp-based config sources.",
        ),
    ],
)
def test_what_is_refused(views: list[View], text: str) -> None:
    world = World(1)
    try:
        with pytest.raises(ConfigError) as caught:
            XdsSubscriptions(world.context, None, make_client=Clients(), config_sources=views)
        assert text in str(caught.value)
    finally:
        world.close()
