"""Whatever comes late, twice or not at all: an attempt is never taken for proven by one owner and for dead by
another."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.cluster.ids import Epoch
from ringmill.cluster.quorum.watermark import Fate, Kept, Note, OwnerWatermark, fate_of
from ringmill.cluster.versions.hybrid_time import HybridTime

ROW = Epoch(1)
OWNERS = 3


def noted(watermark: OwnerWatermark, attempt: str, at: int, token: str) -> None:
    if not watermark.kept.attempt and at > watermark.proven:
        watermark.write_down(Note(attempt, HybridTime(at), ROW, token))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, OWNERS - 1), st.integers(1, 4)), max_size=60))
def test_owners_agree_on_every_attempt(steps: list[tuple[int, int, int]]) -> None:
    watermarks = [OwnerWatermark() for _ in range(OWNERS)]
    disks = [Kept() for _ in range(OWNERS)]
    tokens: dict[tuple[int, str], str] = {}
    outcome: dict[str, set[Fate]] = {}
    for number, (step, owner, which) in enumerate(steps):
        watermark, attempt = watermarks[owner], f"a{which}"
        match step:
            case 0:  # the first answer counts; later copies of the message make other notes
                noted(watermark, attempt, which, f"t{number}")
                if watermark.note is not None and watermark.note.attempt == attempt:
                    tokens.setdefault((owner, attempt), watermark.note.token)
            case 1:
                watermark.void("")
            case 2 if watermark.note is not None:
                token = tokens.get((owner, attempt), "")
                if not watermark.may_keep(attempt, token, ROW):
                    watermark.keep(attempt)
                    disks[owner] = watermark.kept
            case 3:
                watermarks[owner] = OwnerWatermark(disks[owner])
            case 4 | 5 if attempt := watermark.kept.attempt:
                heard = [each.fate(attempt) for each in watermarks if each is not watermark]
                fate = fate_of(heard if step == 4 else [heard[0], Fate.SILENT], is_same_row=True)
                if watermark.record_fate(attempt, fate):
                    disks[owner] = watermark.kept
                    outcome.setdefault(attempt, set()).add(fate)
        assert all(len(fates) == 1 for fates in outcome.values())
        for attempt, fates in outcome.items():
            if fates == {Fate.PROVEN}:
                assert all(attempt in (disk.attempt, disk.proof) or disk.proven for disk in disks)


def test_a_note_that_is_void_is_never_kept() -> None:
    watermark = OwnerWatermark()
    watermark.write_down(Note("a", HybridTime(5), ROW, "t"))
    assert not watermark.void("a")  # its own exchange
    assert watermark.may_keep("a", "t", ROW) == ""
    assert watermark.void("") and not watermark.void("")
    assert "older version" in watermark.may_keep("a", "t", ROW)


def test_only_the_token_of_the_note_has_it_kept() -> None:
    watermark = OwnerWatermark()
    watermark.write_down(Note("a", HybridTime(5), ROW, "t1"))
    watermark = OwnerWatermark()  # started again, and a copy of the message arrives
    watermark.write_down(Note("a", HybridTime(5), ROW, "t2"))
    assert watermark.may_keep("a", "t1", ROW) and not watermark.may_keep("a", "t2", ROW)
    assert watermark.may_keep("a", "t2", Epoch(2))


def test_what_is_kept_closes_and_what_is_proven_forgets() -> None:
    watermark = OwnerWatermark(Kept(HybridTime(3), "a"))
    watermark.write_down(Note("b", HybridTime(7), ROW, "t"))
    assert (watermark.proven, watermark.closed, watermark.watched) == (3, 3, 7)
    watermark.keep("b")
    assert (watermark.proven, watermark.closed, watermark.watched) == (3, 7, 7)
    dead = OwnerWatermark(watermark.kept)
    assert dead.record_fate("b", Fate.DEAD) and (dead.proven, dead.closed) == (3, 3)
    assert not dead.record_fate("b", Fate.PROVEN)
    assert watermark.record_fate("b", Fate.PROVEN) and (watermark.proven, watermark.closed) == (7, 7)
    assert watermark.fate("b") is Fate.PROVEN and watermark.fate("c") is Fate.DEAD


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
    watermark = OwnerWatermark()
    noted(watermark, "a", 1, "t")
    watermark.keep("a")
    assert watermark.record_fate("a", Fate.PROVEN)
    noted(watermark, "b", 2, "u")
    assert watermark.may_keep("a", "t", ROW) == ""
    watermark.keep("a")
    assert watermark.kept.attempt == "" and watermark.note is not None and watermark.note.attempt == "b"
