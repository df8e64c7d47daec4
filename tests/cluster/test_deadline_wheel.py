"""Deadlines that share timers are never early, and one that fails keeps no other from ending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringmill.cluster.deadline_wheel import TICK_S, DeadlineWheel


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
    bucket = wheel.add(first, 0.02)
    assert wheel.add(second, 0.02) is bucket
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
