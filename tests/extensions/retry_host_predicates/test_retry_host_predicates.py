"""Predicates that keep retries away from hosts."""

from __future__ import annotations

from tests.router.support.playbook import World

from outrider.config import api
from outrider.config.view import View
from outrider.extensions.retry_host_predicates import omit_host_metadata
from outrider.extensions.retry_host_predicates.omit_canary_hosts import OmitCanaryHostsFactory
from outrider.extensions.retry_host_predicates.omit_host_metadata import OmitHostMetadata
from outrider.extensions.retry_host_predicates.previous_hosts import PreviousHostsFactory
from outrider.router.config.retry_policy import RETRY_ON_5XX


def test_previous_hosts() -> None:
    first, second = World().cluster.hosts.values()
    predicate = PreviousHostsFactory().create()
    assert not predicate.should_select_another_host(first)
    predicate.on_host_attempted(first)
    assert predicate.should_select_another_host(first)
    assert not predicate.should_select_another_host(second)
    assert not PreviousHostsFactory().create().should_select_another_host(first)


def test_a_retry_avoids_the_previous_host() -> None:
    for _ in range(8):
        world = World()
        world.add_cluster("up", 5)
        policy = world.retry(RETRY_ON_5XX, 4)
        policy.host_predicates = [PreviousHostsFactory()]
        policy.host_selection_max_attempts = 100
        world.request()
        for number in range(4):
            world.attempts[number].respond(503)
            world.loop.advance(300)
        tried = [attempt.pool.host.address.text for attempt in world.attempts]
        assert len(set(tried)) == 5


def test_omit_canary_hosts() -> None:
    host = next(iter(World().cluster.hosts.values()))
    predicate = OmitCanaryHostsFactory().create()
    assert not predicate.should_select_another_host(host)
    host.canary = True
    assert predicate.should_select_another_host(host)


def test_omit_host_metadata() -> None:
    host = next(iter(World().cluster.hosts.values()))
    predicate = OmitHostMetadata({"version": "2"})
    assert not predicate.should_select_another_host(host)
    assert OmitHostMetadata({}).should_select_another_host(host)
    for value, omitted in (("2", True), ("1", False), (["1", "2"], True), ([], False)):
        host.metadata = {"envoy.lb": {"version": value, "other": 1}}
        assert predicate.should_select_another_host(host) is omitted


def test_configuration_of_omit_host_metadata() -> None:
    message_class = api.class_for_url("envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig")
    assert message_class is not None
    message = message_class()
    message.metadata_match.filter_metadata["envoy.lb"].fields["version"].string_value = "2"  # type: ignore[attr-defined]
    view = View(message)
    factory = omit_host_metadata.create(view, None)  # type: ignore[arg-type]
    host = next(iter(World().cluster.hosts.values()))
    host.metadata = {"envoy.lb": {"version": "2"}}
    assert factory.create().should_select_another_host(host)
    assert view.unread() == []
