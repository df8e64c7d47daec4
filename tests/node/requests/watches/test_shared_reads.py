"""A read for all: begun after each of them asked, made anew when its maker leaves, waited for as each may."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.cluster.errors import DeadlineExceeded, QuorumNotReached
from ringmill.node.requests.watches.shared_reads import SharedReads


class Reading:
    """Reads that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[int]] = []

    async def make(self) -> int:
        end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.begun.append(end)
        return await end


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_joins_a_read_that_has_begun_and_the_next_one_begins_after_it() -> None:
    reads, reading = SharedReads[int](5.0), Reading()
    first = [asyncio.ensure_future(reads.read("k", reading.make, 5.0)) for _ in range(3)]
    await turn()
    late = [asyncio.ensure_future(reads.read("k", reading.make, 5.0)) for _ in range(3)]
    other = asyncio.ensure_future(reads.read("other", reading.make, 5.0))
    await turn()
    assert len(reading.begun) == 2
    reading.begun[0].set_result(1)
    await turn()
    assert [each.result() for each in first] == [1] * 3 and not any(each.done() for each in late)
    reading.begun[2].set_result(2)
    reading.begun[1].set_result(7)
    assert await asyncio.gather(*late) == [2] * 3 and await other == 7
    assert not reads._next and not reads._under_way


async def test_a_read_that_hangs_holds_up_others_for_a_moment_only() -> None:
    reads, reading = SharedReads[int](5.0), Reading()
    hanging = asyncio.ensure_future(reads.read("k", reading.make, 5.0))
    await turn()
    late = asyncio.ensure_future(reads.read("k", reading.make, 5.0))
    await asyncio.sleep(0.1)
    reading.begun[1].set_result(2)
    assert await late == 2
    hanging.cancel()


async def test_others_make_it_when_its_maker_leaves_or_had_less_time() -> None:
    reads, reading = SharedReads[int](5.0), Reading()
    short = QuorumNotReached.of("get", 2, ["n1"], {"n2": "no answer"}, outcome="failed")
    asked = [asyncio.ensure_future(reads.read("k", reading.make, left_s)) for left_s in (5.0, 1.0, 5.0, 5.0)]
    await turn()
    asked[0].cancel()
    await turn()
    reading.begun[1].set_exception(short)
    await turn()
    assert asked[1].exception() is short
    reading.begun[2].set_exception(short)
    await turn()
    for each in asked[2:]:
        with pytest.raises(QuorumNotReached):
            await each
    assert len(reading.begun) == 3 and not reads._next


async def test_who_has_no_time_left_waits_for_no_other() -> None:
    reads, reading = SharedReads[int](5.0), Reading()
    made = asyncio.ensure_future(reads.read("k", reading.make, 5.0))
    brief = asyncio.ensure_future(reads.read("k", reading.make, 0.02))
    with pytest.raises(DeadlineExceeded):
        await brief
    reading.begun[0].set_result(1)
    assert await made == 1
