"""Retries leave out the priorities that have been tried."""

from __future__ import annotations

from tests.router.support.playbook import World

from outrider.extensions.retry_priorities.previous_priorities import PreviousPrioritiesFactory
from outrider.upstream.host import Host
from outrider.upstream.priority_load import PriorityLoad, distribute


def load(*health: int) -> PriorityLoad:
    made = PriorityLoad(len(health))
    made.health = list(health)
    distribute(made)
    return made


def host(priority: int) -> Host:
    found = next(iter(World().cluster.hosts.values()))
    found.priority = priority
    return found


def test_the_first_attempt_has_the_regular_load() -> None:
    regular = load(100, 100)
    assert PreviousPrioritiesFactory(1).create().determine_priority_load(regular) is regular


def test_tried_priorities_are_left_out() -> None:
    plugin = PreviousPrioritiesFactory(1).create()
    regular = load(100, 100, 40)
    plugin.on_host_attempted(host(0))
    assert plugin.determine_priority_load(regular).healthy == [0, 100, 0]
    plugin.on_host_attempted(host(1))
    assert plugin.determine_priority_load(regular).healthy == [0, 0, 100]
    # Nothing is left: all over again.
    plugin.on_host_attempted(host(2))
    assert plugin.determine_priority_load(regular) is regular
    plugin.on_host_attempted(host(0))
    assert plugin.determine_priority_load(regular).healthy == [0, 100, 0]
    assert regular.healthy == [100, 0, 0]


def test_every_second_attempt() -> None:
    plugin = PreviousPrioritiesFactory(2).create()
    regular = load(100, 100)
    plugin.on_host_attempted(host(0))
    assert plugin.determine_priority_load(regular) is regular
    plugin.on_host_attempted(host(0))
    assert plugin.determine_priority_load(regular).healthy == [0, 100]
    plugin.on_host_attempted(host(1))
    assert plugin.determine_priority_load(regular).healthy == [0, 100]
