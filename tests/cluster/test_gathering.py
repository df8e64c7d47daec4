"""Works that are waited for together: errors wait for the last to end, and no cancellation is lost."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.cluster.gathering import end_all, first_error, gather_all


async def test_results_come_in_the_order_of_the_works() -> None:
    async def late(value: int) -> int:
        for _ in range(3 - value):
            await asyncio.sleep(0)
        return value

    assert await gather_all(map(late, range(3))) == [0, 1, 2]
    assert await gather_all([]) == []


async def test_an_error_waits_for_the_other_works() -> None:
    ended: list[str] = []

    async def fail() -> None:
        raise Unavailable("n2 is away")

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append("work")

    with pytest.raises(Unavailable, match="n2 is away"):
        await gather_all([fail(), work()])
    assert ended == ["work"]


async def test_a_work_that_somebody_else_cancels_hides_no_error_before_it_and_leaves_none_behind_it() -> None:
    reported: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["message"]))

    async def fail() -> None:
        raise Unavailable("n2 is away")

    cancelled: asyncio.Future[None] = loop.create_future()
    cancelled.cancel()
    with pytest.raises(Unavailable, match="n2 is away"):
        await gather_all([fail(), cancelled, fail()])
    with pytest.raises(asyncio.CancelledError):
        await gather_all([cancelled, fail()])
    gc.collect()
    assert reported == []


async def test_a_cancellation_in_the_turn_of_an_error_is_not_lost() -> None:
    """A loop that catches the errors of its works, as those of repair do, ends when it is cancelled."""
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]
    rounds: list[str] = []

    async def repair() -> None:
        while True:
            rounds.append("begun")
            try:
                await gather_all(answers)
            except Unavailable:
                rounds.append("failed")

    running = asyncio.ensure_future(repair())
    await asyncio.sleep(0)
    answers[0].set_exception(Unavailable("n2 is away"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rounds == ["begun"] and answers[1].cancelled()


async def test_cancelled_works_have_ended_before_it_returns() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    running = asyncio.ensure_future(gather_all([work(), work()]))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == ["work", "work"]


def test_the_first_error_of_a_group_is_not_a_group() -> None:
    first, second = Unavailable("n1 is away"), Unavailable("n2 is away")
    assert first_error(ExceptionGroup("all", [first, second])) is first
    assert first_error(ExceptionGroup("all", [ExceptionGroup("some", [second]), first])) is second


async def test_what_a_bug_had_ended_in_the_background_is_told_at_the_end() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def fail(error: Exception) -> None:
        raise error

    bug = KeyError("a bug")
    works = [asyncio.create_task(fail(each)) for each in (bug, ValueError("expected"))]
    works.append(asyncio.create_task(asyncio.sleep(60)))
    await asyncio.sleep(0)
    await end_all(works, expected=ValueError)
    assert [each["exception"] for each in told] == [bug]
    assert all(work.done() for work in works)
