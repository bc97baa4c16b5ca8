"""envoy.filters.http.on_demand: requests that wait for a cluster (routes: see tests of parity)."""

from __future__ import annotations

from outrider.extensions.filters.http.on_demand import OnDemandFilterFactory, OnDemandSettings
from outrider.factory_context import FactoryContext
from outrider.http.filter_chain import FilterChainEntry
from outrider.http.route import HttpRoute
from outrider.upstream.on_demand_clusters import OnDemandClusters
from tests.extensions.filters.http.scene import Scene, Stream, request_headers
from tests.router.config.support import find, load, one_host, request
from tests.support.subscriptions import FakeSubscriptions
from tests.upstream.test_on_demand_clusters import clusters, context_of

TYPE = "envoy.extensions.filters.http.on_demand.v3.OnDemand"


def route_to(cluster: str) -> HttpRoute:
    config = load({**one_host({"match": {"prefix": "/"}, "route": {"cluster": cluster}}), "validate_clusters": False})
    found = find(config, request())
    assert found is not None
    return found


def run(context: FactoryContext, on_demand: OnDemandClusters | None, route: HttpRoute | None, end: bool = True) -> Stream:
    """A request that the filter has seen the headers of."""
    stream = Stream(Scene("on_demand", TYPE, {}), route)
    factory = OnDemandFilterFactory(OnDemandSettings(on_demand, context.cluster_manager))
    stream.create_filter(FilterChainEntry(factory, "on_demand"))
    stream.finish_chain()
    headers = request_headers()
    stream.request_headers = headers
    stream.remote_complete = end
    stream.run_decode_headers(0, headers, end)
    return stream


def test_waits_for_an_unknown_cluster() -> None:
    context, _ = context_of(FakeSubscriptions())
    on_demand = clusters(context)
    stream = run(context, on_demand, route_to("late"))
    assert not stream.passed and not stream.route_cleared
    context.cluster_manager.announce("other")
    assert not stream.passed
    context.cluster_manager.announce("late")
    assert stream.passed and stream.route_cleared


def test_goes_on_without_a_cluster_that_does_not_exist() -> None:
    subscriptions = FakeSubscriptions()
    context, _ = context_of(subscriptions)
    stream = run(context, clusters(context), route_to("late"))
    subscriptions.made[0].send_delta(removed=["late"])
    assert stream.passed


def test_body_is_held_back() -> None:
    context, _ = context_of(FakeSubscriptions())
    stream = run(context, clusters(context), route_to("late"), end=False)
    stream.run_decode_data(0, b"body", False)
    assert not stream.passed
    context.cluster_manager.announce("late")
    assert stream.passed


def test_does_not_wait_without_need() -> None:
    context, source = context_of(FakeSubscriptions())
    on_demand = clusters(context)
    source.taken.append(("known", "1"))
    assert run(context, on_demand, route_to("known")).passed
    assert run(context, None, route_to("late")).passed
    assert run(context, on_demand, None).passed
    assert not on_demand.discovery.waiting


def test_a_request_that_ends_waits_no_longer() -> None:
    context, _ = context_of(FakeSubscriptions())
    on_demand = clusters(context)
    stream = run(context, on_demand, route_to("late"))
    assert on_demand.discovery.waiting
    stream.destroy_filters()
    assert not on_demand.discovery.waiting
    context.cluster_manager.announce("late")


def test_a_route_may_have_its_own_source() -> None:
    scene = Scene("on_demand", TYPE, {})
    scene.context.subscriptions = FakeSubscriptions()
    settings = scene.route_config(TYPE.replace("OnDemand", "PerRouteConfig"), {"odcds": {"source": {"ads": {}}, "timeout": "1s"}})
    assert isinstance(settings, OnDemandSettings)
    assert settings.clusters is not None and settings.clusters.timeout_ms == 1000
    none = scene.route_config(TYPE.replace("OnDemand", "PerRouteConfig"), {})
    assert isinstance(none, OnDemandSettings) and none.clusters is None
