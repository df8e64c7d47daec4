"""Steps are taken in their order while there is a reason, and taken back one by one."""

from __future__ import annotations

from ringmill.cluster.overload.governor import BUSY, CROWDED, PAUSED, core_pause_s, stretch, stretch_towards
from ringmill.cluster.overload.ladder import FALL_S, HOLD_S, RISE_S, Ladder, Rung
from ringmill.cluster.ports import CoreTime


def steps_while(ladder: Ladder, refused: bool, *, now: float, seconds: float) -> tuple[list[Rung], float]:
    seen: list[Rung] = []
    until = now + seconds
    while now < until:
        now += 0.01
        if refused:
            ladder.refused(now)
        else:
            ladder.waited(now)
        step = ladder.step(now)
        if not seen or seen[-1] is not step:
            seen.append(step)
    return seen, now


def test_while_requests_wait_hedging_and_background_work_are_left_off_and_no_more() -> None:
    seen, _ = steps_while(Ladder(0.0), False, now=0.0, seconds=60)
    assert seen == [Rung.NONE, Rung.HEDGING, Rung.BACKGROUND, Rung.COMPACTION, Rung.TASKS]


def test_while_requests_are_refused_scans_follow() -> None:
    ladder = Ladder(0.0)
    seen, now = steps_while(ladder, True, now=0.0, seconds=6 * RISE_S)
    assert seen == [Rung.NONE, Rung.HEDGING, Rung.BACKGROUND, Rung.COMPACTION, Rung.TASKS, Rung.SCANS]
    assert (
        ladder.left_off(now)
        == "hedging, background repair, compactions that can wait, new tasks of jobs, scans"
    )


def test_one_request_that_waited_takes_no_more_than_a_moment() -> None:
    ladder = Ladder(0.0)
    ladder.waited(0.0)
    assert ladder.step(HOLD_S) is Rung.BACKGROUND
    assert ladder.step(HOLD_S + 2 * FALL_S + 0.01) is Rung.NONE


def test_steps_are_taken_back_in_the_reverse_order() -> None:
    ladder = Ladder(0.0)
    _, now = steps_while(ladder, True, now=0.0, seconds=5)
    calm = now + HOLD_S
    assert ladder.step(calm) is Rung.SCANS
    assert ladder.step(calm + 0.5 * FALL_S) is Rung.TASKS
    assert ladder.step(calm + 1.5 * FALL_S) is Rung.COMPACTION
    assert ladder.step(calm + 2.5 * FALL_S) is Rung.BACKGROUND
    assert ladder.step(calm + 5 * FALL_S + 0.01) is Rung.NONE
    assert ladder.left_off(calm + 6 * FALL_S) == ""


def test_background_work_gives_way_the_more_the_busier_and_always_has_a_hundredth() -> None:
    assert stretch(0.0, Rung.NONE) == stretch(0.05, Rung.NONE) == 1
    assert 1 < stretch(0.5, Rung.NONE) < stretch(1.0, Rung.NONE) == BUSY
    assert stretch(0.0, Rung.BACKGROUND) == stretch(1.0, Rung.SCANS) == CROWDED == 100


def test_what_goes_to_a_node_gives_way_to_its_requests_too() -> None:
    assert [stretch_towards(1.0, quarters) for quarters in range(4)] == [1.0, 1.0, 1.0, BUSY]
    assert stretch_towards(CROWDED, 0) == stretch_towards(CROWDED, 3) == CROWDED


def test_work_pauses_the_longer_the_more_it_waited_for_a_core_and_not_on_an_idle_host() -> None:
    assert core_pause_s(2.0, CoreTime(1.0, 0.0), 1) == core_pause_s(2.0, CoreTime(), 3) == 0
    some, much = (core_pause_s(2.0, CoreTime(1.0, waited_s), 1) for waited_s in (0.25, 1.0))
    assert 0 < some < much == core_pause_s(2.0, CoreTime(1.0, 9.0), 1) == 2.0 * (PAUSED - 1)
    assert core_pause_s(2.0, CoreTime(1.0, 1.0), 3) == 2.0 * (3 * PAUSED - 1)
