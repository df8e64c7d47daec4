"""The checker of watches against histories written by hand: who begins late is told of no earlier delete."""

from __future__ import annotations

import pytest

from ringmill.simulator.history import Final, History, Kind, Operation
from ringmill.simulator.subjects.watches.checkers import ShownChange, check_watches

KEY = b"w-key-1"
FINAL = [Final(KEY, node, {"n1#1": 2}, ("n1#1:2",)) for node in ("n1", "n2")]
TOLD_BEFORE = ShownChange("wp0", KEY, {"n1#1": 1}, {"n1#1:1": b"1"})


def ended_by(kind: Kind) -> History:
    """The last write of the key was of this kind."""
    last = Operation(
        index=2, session="ws0", kind=kind, key=KEY, invoked=2.0, returned=3.0, outcome="ok", dot="n1#1:2"
    )
    return History(operations=[last], finals=FINAL)


@pytest.mark.parametrize(
    ("kind", "shown", "late", "is_broken"),
    [
        ("delete", [], ["wp0"], False),
        ("delete", [], [], True),
        ("delete", [TOLD_BEFORE], ["wp0"], True),
        ("put", [], ["wp0"], True),
    ],
)
def test_who_may_have_begun_after_a_delete_is_not_told_of_it(
    kind: Kind, shown: list[ShownChange], late: list[str], is_broken: bool
) -> None:
    told = [each.story for each in check_watches(shown, ended_by(kind), ["wp0"], late)]
    assert bool(told) == is_broken, told
