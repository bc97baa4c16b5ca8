"""Interest and versions of the incremental form."""

from __future__ import annotations

from typing import Any

from outrider.xds.delta_state import DeltaState
from tests.xds.fakes import CLUSTER, ENDPOINT


def subscribed(request: Any) -> tuple[list[str], list[str], dict[str, str]]:
    return (
        list(request.resource_names_subscribe),
        list(request.resource_names_unsubscribe),
        dict(request.initial_resource_versions),
    )


def test_the_legacy_wildcard_is_an_empty_first_request() -> None:
    state = DeltaState(CLUSTER)
    assert state.request_pending()
    assert subscribed(state.request()) == ([], [], {})
    assert not state.request_pending()
    state.took("a", "1")
    state.new_stream()
    assert subscribed(state.request()) == ([], [], {"a": "1"})


def test_names_are_told_once_and_all_again_on_a_new_stream() -> None:
    state = DeltaState(ENDPOINT)
    state.change_interest(["b", "a"], [])
    assert subscribed(state.request()) == (["a", "b"], [], {})
    state.took("a", "7")
    state.change_interest(["c"], ["b"])
    assert subscribed(state.request()) == (["c"], ["b"], {})
    state.new_stream()
    assert state.request_pending()
    assert subscribed(state.request()) == (["a", "c"], [], {"a": "7"})


def test_a_removed_resource_is_still_wanted() -> None:
    state = DeltaState(ENDPOINT)
    state.change_interest(["a"], [])
    state.request()
    state.took("a", "1")
    state.lost("a")
    assert state.version("a") is None
    state.new_stream()
    assert subscribed(state.request()) == (["a"], [], {})


def test_given_up_and_wanted_again_is_new_interest() -> None:
    state = DeltaState(ENDPOINT)
    state.change_interest(["a"], [])
    state.request()
    state.took("a", "1")
    state.change_interest([], ["a"])
    state.change_interest(["a"], [])
    assert subscribed(state.request()) == (["a"], [], {})


def test_nothing_wanted_any_more_is_not_the_wildcard() -> None:
    state = DeltaState(ENDPOINT)
    state.change_interest(["a"], [])
    state.request()
    state.change_interest([], ["a"])
    assert subscribed(state.request()) == ([], ["a"], {})
    state.new_stream()
    assert not state.request_pending()


def test_explicit_wildcard_beside_names() -> None:
    state = DeltaState(CLUSTER)
    state.change_interest(["*", "named"], [])
    assert subscribed(state.request()) == (["*", "named"], [], {})
    state.took("named", "1")
    state.took("other", "2")
    assert (state.requested["named"], state.wildcard) == ("1", {"other": "2"})
    # Given up by name: it may have come by the wildcard, too.
    state.change_interest([], ["named"])
    assert state.ambiguous == {"named": "1"}
    assert subscribed(state.request()) == ([], ["named"], {})
    # What is wanted by name takes over the version that is known.
    state.change_interest(["other"], [])
    assert state.requested["other"] == "2" and state.wildcard == {}
    state.change_interest([], ["*"])
    assert (state.wildcard, state.ambiguous) == ({}, {})


def test_only_the_wildcard_left_goes_back_to_the_empty_request() -> None:
    state = DeltaState(CLUSTER)
    state.change_interest(["*", "named"], [])
    state.request()
    state.change_interest([], ["named"])
    state.request()
    state.new_stream()
    assert subscribed(state.request()) == ([], [], {})


def test_what_was_not_asked_for_is_not_remembered() -> None:
    state = DeltaState(ENDPOINT)
    state.change_interest(["a"], [])
    state.request()
    state.took("b", "1")
    assert state.version("b") is None
