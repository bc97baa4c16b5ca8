"""How the tables are run: a row is (name, steps, expected outcome)."""

from __future__ import annotations

from collections.abc import Sequence

from tests.http2.conformance.frames import START
from tests.http2.conformance.server import Server

# The steps follow the client's preface and first SETTINGS. The outcome's lines are joined by "; "; an empty one means
# that nothing is answered. "connection error" without a code leaves open which one is named, if any.
Row = tuple[str, bytes | Sequence[bytes], str]


def names(rows: Sequence[Row]) -> list[str]:
    found = [row[0] for row in rows]
    assert len(set(found)) == len(found), "two rows of one name"
    return found


def check(row: Row, server: Server | None = None, start: bytes = START) -> Server:
    _, steps, expected = row
    if isinstance(steps, bytes):
        steps = [steps]
    made = server or Server()
    made.feed(start)
    greeting = made.play(alive=False)
    assert greeting == (["settings ack"] if start == START else []), greeting
    outcome = "; ".join(made.play(*steps))
    if expected == "connection error":
        assert outcome.split("; ")[-1].startswith(expected), outcome
    else:
        assert outcome == expected
    return made
