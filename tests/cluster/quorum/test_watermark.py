"""Whatever comes late, twice or not at all: an attempt is never taken for proven by one owner and for dead by
another."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.cluster.ids import Epoch
from ringmill.cluster.quorum.watermark import Fate, Kept, Note, OwnerMark, fate_of
from ringmill.cluster.versions.hybrid_time import HybridTime

ROW = Epoch(1)
OWNERS = 3


def noted(mark: OwnerMark, attempt: str, at: int, token: str) -> None:
    if not mark.kept.attempt and at > mark.proven:
        mark.write_down(Note(attempt, HybridTime(at), ROW, token))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, OWNERS - 1), st.integers(1, 4)), max_size=60))
def test_owners_agree_on_every_attempt(steps: list[tuple[int, int, int]]) -> None:
    marks = [OwnerMark() for _ in range(OWNERS)]
    disks = [Kept() for _ in range(OWNERS)]
    tokens: dict[tuple[int, str], str] = {}
    outcome: dict[str, set[Fate]] = {}
    for number, (step, owner, which) in enumerate(steps):
        mark, attempt = marks[owner], f"a{which}"
        match step:
            case 0:  # the first answer counts; later copies of the message make other notes
                noted(mark, attempt, which, f"t{number}")
                if mark.note is not None and mark.note.attempt == attempt:
                    tokens.setdefault((owner, attempt), mark.note.token)
            case 1:
                mark.voids("")
            case 2 if mark.note is not None:
                token = tokens.get((owner, attempt), "")
                if not mark.may_keep(attempt, token, ROW):
                    mark.keep(attempt)
                    disks[owner] = mark.kept
            case 3:
                marks[owner] = OwnerMark(disks[owner])
            case 4 | 5 if attempt := mark.kept.attempt:
                heard = [each.fate(attempt) for each in marks if each is not mark]
                fate = fate_of(heard if step == 4 else [heard[0], Fate.SILENT], is_same_row=True)
                if mark.settle(attempt, fate):
                    disks[owner] = mark.kept
                    outcome.setdefault(attempt, set()).add(fate)
        assert all(len(fates) == 1 for fates in outcome.values())
        for attempt, fates in outcome.items():
            if fates == {Fate.PROVEN}:
                assert all(attempt in (disk.attempt, disk.proof) or disk.proven for disk in disks)


def test_a_note_that_is_void_is_never_kept() -> None:
    mark = OwnerMark()
    mark.write_down(Note("a", HybridTime(5), ROW, "t"))
    assert not mark.voids("a")  # its own exchange
    assert mark.may_keep("a", "t", ROW) == ""
    assert mark.voids("") and not mark.voids("")
    assert "older version" in mark.may_keep("a", "t", ROW)


def test_only_the_token_of_the_note_has_it_kept() -> None:
    mark = OwnerMark()
    mark.write_down(Note("a", HybridTime(5), ROW, "t1"))
    mark = OwnerMark()  # started again, and a copy of the message arrives
    mark.write_down(Note("a", HybridTime(5), ROW, "t2"))
    assert mark.may_keep("a", "t1", ROW) and not mark.may_keep("a", "t2", ROW)
    assert mark.may_keep("a", "t2", Epoch(2))


def test_what_is_kept_closes_and_what_is_proven_forgets() -> None:
    mark = OwnerMark(Kept(HybridTime(3), "a"))
    mark.write_down(Note("b", HybridTime(7), ROW, "t"))
    assert (mark.proven, mark.closed, mark.watched) == (3, 3, 7)
    mark.keep("b")
    assert (mark.proven, mark.closed, mark.watched) == (3, 7, 7)
    dead = OwnerMark(mark.kept)
    assert dead.settle("b", Fate.DEAD) and (dead.proven, dead.closed) == (3, 3)
    assert not dead.settle("b", Fate.PROVEN)
    assert mark.settle("b", Fate.PROVEN) and (mark.proven, mark.closed) == (7, 7)
    assert mark.fate("b") is Fate.PROVEN and mark.fate("c") is Fate.DEAD


def test_after_a_change_of_owners_all_are_heard() -> None:
    assert fate_of([Fate.DEAD, Fate.SILENT], is_same_row=True) is Fate.DEAD
    assert fate_of([Fate.DEAD, Fate.SILENT], is_same_row=False) is Fate.OPEN
    assert fate_of([Fate.DEAD, Fate.PROVEN], is_same_row=False) is Fate.PROVEN
    assert fate_of([Fate.OPEN, Fate.OPEN], is_same_row=True) is Fate.PROVEN
    assert fate_of([Fate.OPEN, Fate.SILENT], is_same_row=True) is Fate.OPEN
    assert fate_of([Fate.OPEN, Fate.OPEN], is_same_row=False) is Fate.PROVEN, "a plan that was given up"
    assert fate_of([Fate.OPEN, Fate.SILENT], is_same_row=False) is Fate.OPEN
    assert replace(Note("a", HybridTime(1), ROW, "t"), is_void=True).is_void


def test_an_attempt_that_is_asked_for_again_keeps_no_other_one() -> None:
    mark = OwnerMark()
    noted(mark, "a", 1, "t")
    mark.keep("a")
    assert mark.settle("a", Fate.PROVEN)
    noted(mark, "b", 2, "u")
    assert mark.may_keep("a", "t", ROW) == ""
    mark.keep("a")
    assert mark.kept.attempt == "" and mark.note is not None and mark.note.attempt == "b"
