"""Seats of a sloppy quorum: an owner and who stands in for it are one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.quorum.tally import SloppyTally

A, B, C, D, E = (NodeId(name) for name in "abcde")
ROW = Epoch(1)


def a_tally(w: int = 2) -> SloppyTally:
    return SloppyTally(w, (A, B, C), ROW)


def test_a_stand_in_has_the_seat_of_its_owner() -> None:
    tally = a_tally()
    tally.record_ack(A, Durability.SYNCED, ROW)
    assert not tally.is_met
    tally.record_stand_in(B, D)
    assert tally.is_met
    assert dict(tally.stand_ins) == {B: D}


def test_an_owner_that_acks_late_and_its_stand_in_count_once() -> None:
    tally = a_tally(w=3)
    tally.record_ack(A, Durability.SYNCED, ROW)
    tally.record_stand_in(B, D)
    tally.record_ack(B, Durability.SYNCED, ROW)
    assert not tally.is_met
    tally.record_stand_in(C, E)
    assert tally.is_met


def test_a_failed_owner_with_a_stand_in_loses_no_level() -> None:
    tally = a_tally(w=3)
    tally.record_ack(A, Durability.SYNCED, ROW)
    tally.record_failure(B, "down")
    assert tally.is_lost
    tally.record_stand_in(B, D)
    assert not tally.is_lost
    tally.record_stand_in(C, E)
    tally.record_failure(C, "down")
    assert tally.is_met
    assert tally.is_over


@given(
    st.lists(st.tuples(st.sampled_from((A, B, C)), st.sampled_from(("ack", "fail", "stand in"))), max_size=12)
)
def test_seats_are_owners_that_acked_or_have_a_stand_in(steps: list[tuple[NodeId, str]]) -> None:
    tally, seated, free = a_tally(), set(), [D, E, NodeId("f")]
    for owner, step in steps:
        if step == "stand in":
            if owner not in tally.stand_ins:
                tally.record_stand_in(owner, free.pop())
                seated.add(owner)
        elif owner in tally.outstanding:
            if step == "ack":
                tally.record_ack(owner, Durability.SYNCED, ROW)
                seated.add(owner)
            else:
                tally.record_failure(owner, "down")
        assert tally.is_met == (len(seated) >= 2)
        assert not (tally.is_met and tally.is_lost)
