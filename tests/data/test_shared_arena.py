"""Rows of the shared arena: given out by main, taken over by workers, given back when nothing is counted in them."""

from __future__ import annotations

from outrider.data.shared_limit import SharedArena, SharedGauge


def test_rows_that_workers_are_told_of() -> None:
    main = SharedArena(2)
    main.row("before")
    assert main.fresh() == {"before": 0}
    worker = SharedArena(2)
    worker.adopt(main.names())
    main.row("after")
    assert main.fresh() == {"after": 1} and main.fresh() == {}
    worker.adopt({"after": 1})
    assert (worker.row("before"), worker.row("after")) == (0, 1)
    # A name that main has not told of is not given a row that main may give to another.
    assert worker.row("unknown") == worker.rows - 1


def test_a_row_is_given_back_when_nothing_is_counted_in_it() -> None:
    arena = SharedArena(2)
    gauge = SharedGauge(arena, arena.row("a"), 1)
    gauge.inc()
    arena.retire("a")
    arena.sweep()
    assert arena.names() == {"a": 0}
    gauge.dec()
    arena.sweep()
    assert arena.names() == {}
    assert arena.row("b") == 0


def test_a_row_that_is_wanted_again_stays() -> None:
    arena = SharedArena(2)
    arena.row("a")
    arena.retire("a")
    arena.row("a")
    arena.sweep()
    assert arena.names() == {"a": 0}


def test_two_handles_count_together() -> None:
    arena = SharedArena(2)
    old, new = SharedGauge(arena, 0, 1), SharedGauge(arena, 0, 1)
    old.inc()
    new.add(2)
    assert old.total() == new.total() == 3
    old.dec()
    assert (new.total(), new.value) == (2, 2)
