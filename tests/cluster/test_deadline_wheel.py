"""Deadlines that share timers are never early, and one that fails keeps no other from ending.

A process that was held up reads what came meanwhile before it gives anything up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ringmill.cluster.deadline_wheel import TICK_S, DeadlineWheel
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import VirtualLoop

GRACE_S = 0.25


class Entry:
    def __init__(self, expired: Callable[[], object]) -> None:
        self._expired = expired

    def expire(self) -> None:
        self._expired()


async def test_entries_expire_at_their_time_and_not_when_they_were_taken_out() -> None:
    wheel, loop = DeadlineWheel(), asyncio.get_running_loop()
    begun, ends = loop.time(), list[float]()
    first, gone = Entry(lambda: ends.append(loop.time())), Entry(lambda: ends.append(0.0))
    wheel.add(first, 0.05)
    wheel.add(gone, 0.05).take_out(gone)
    await asyncio.sleep(0.05 + 5 * TICK_S)
    assert len(ends) == 1
    assert ends[0] >= begun + 0.05


async def test_an_entry_may_take_out_another_one_of_its_moment() -> None:
    wheel, ended = DeadlineWheel(), list[str]()
    second = Entry(lambda: ended.append("second"))

    def expired() -> None:
        ended.append("first")
        bucket.take_out(second)

    first = Entry(expired)
    bucket, other = wheel.add(first, 0.02), wheel.add(second, 0.02)
    while other is not bucket:  # a moment went by between the two
        bucket.take_out(first)
        other.take_out(second)
        bucket, other = wheel.add(first, 0.02), wheel.add(second, 0.02)
    await asyncio.sleep(0.02 + 5 * TICK_S)
    assert ended == ["first"]


async def test_an_entry_that_fails_is_reported_and_the_others_expire() -> None:
    wheel, ended, reported = DeadlineWheel(), list[str](), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail() -> None:
        raise ValueError("a bug of one waiter")

    for entry in (Entry(fail), Entry(lambda: ended.append("other"))):
        wheel.add(entry, 0.02)
    await asyncio.sleep(0.02 + 5 * TICK_S)
    assert ended == ["other"]
    assert [str(each) for each in reported] == ["a bug of one waiter"]


async def test_a_moment_without_entries_keeps_no_timer() -> None:
    wheel, ended = DeadlineWheel(), list[str]()
    entry, other = Entry(lambda: ended.append("entry")), Entry(lambda: ended.append("other"))
    bucket = wheel.add(entry, 0.05)
    bucket.take_out(entry)
    bucket.take_out(entry)
    assert bucket.timer.cancelled()
    assert wheel.add(other, 0.05) is not bucket
    await asyncio.sleep(0.05 + 5 * TICK_S)
    assert ended == ["other"]


def _expired_in_a_process_that_was_held_up(grace_s: float, held_s: float) -> dict[str, float]:
    """When each entry of a process expired, in virtual time.

    The process is held up from 0 on, and goes on at `held_s`.  One answer comes 0.04 s after that, another
    one never.
    """
    loop = VirtualLoop(stream(1, "schedule"))
    expired: dict[str, float] = {}

    async def main() -> None:
        process = loop.process("client")
        wheel = DeadlineWheel(grace_s)
        answered, never = (
            Entry(lambda: expired.update(answered=loop.time())),
            Entry(lambda: expired.update(never=loop.time())),
        )

        async def work() -> None:
            bucket = wheel.add(answered, 1.0)
            wheel.add(never, 1.0)
            wheel.add(Entry(lambda: expired.update(later=loop.time())), 3.1)
            await asyncio.sleep(held_s + 0.04)
            bucket.take_out(answered)

        working = loop.spawn(process, work())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.pause(process)
        await asyncio.sleep(held_s)
        loop.resume(process)
        await working
        await asyncio.sleep(5.0)

    loop.run_until_complete(main())
    assert loop.unhandled() == []
    return expired


def test_after_a_hold_up_what_came_meanwhile_is_read_before_anything_expires() -> None:
    expired = _expired_in_a_process_that_was_held_up(GRACE_S, held_s=3.0)
    assert list(expired) == ["never", "later"]
    assert expired["never"] == pytest.approx(3.0 + GRACE_S)
    assert expired["later"] == pytest.approx(3.0 + GRACE_S), "due soon after the hold-up"


def test_whoever_was_held_up_for_a_moment_waits_a_moment_longer() -> None:
    expired = _expired_in_a_process_that_was_held_up(GRACE_S, held_s=1.11)
    assert list(expired) == ["never", "later"]
    assert 1.11 < expired["never"] < 1.11 + 0.12
    assert expired["later"] == pytest.approx(3.1, abs=2 * TICK_S)


def test_without_a_grace_everything_expires_at_once_after_a_hold_up() -> None:
    expired = _expired_in_a_process_that_was_held_up(0.0, held_s=3.0)
    assert expired["answered"] == expired["never"] == pytest.approx(3.0)
    assert expired["later"] == pytest.approx(3.1, abs=2 * TICK_S)
