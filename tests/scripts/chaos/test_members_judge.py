"""What the run in which members come and go makes of the bytes that were moved."""

from __future__ import annotations

from chaos.members import Outcome, ReadMeter, moved_too_much


def test_a_node_that_was_killed_counts_from_zero_again() -> None:
    meter = ReadMeter()
    for read_bytes in ({"n1": 100}, {"n1": 250, "n4": 40}, {"n4": 60}, {"n1": 30, "n4": 60}, {"n1": 50}):
        meter.note(read_bytes)
    assert meter.read_bytes == 250 + 60 + 50


def test_more_than_a_tenth_above_the_plans_is_trouble() -> None:
    changes = [Outcome("add n4", planned=1000, moved=1150), Outcome("remove n2", planned=1000, moved=1050)]
    assert moved_too_much(changes) == []
    changes[1].moved = 1051
    assert moved_too_much(changes) == ["2,201 bytes were read for moves, 1.10 times the 2,000 of the plans"]


def test_a_disk_that_is_filled_again_moves_nothing() -> None:
    assert moved_too_much([Outcome("replace n3")]) == []
