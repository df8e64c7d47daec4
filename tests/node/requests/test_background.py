"""Work that waits for answers without a task leaves behind what it must, however its room is left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ringmill.node.requests.background import Background


class Work:
    def __init__(self) -> None:
        self.was_abandoned = False

    def abandon(self) -> Coroutine[Any, Any, None]:
        return self._abandon()

    async def _abandon(self) -> None:
        await asyncio.sleep(0)
        self.was_abandoned = True


async def test_a_room_waits_for_what_is_kept_and_then_abandons_it() -> None:
    finished, silent = Work(), Work()
    async with Background(0.05) as background:
        background.keep(finished)
        background.keep(silent)
        background.forget(finished)
    assert (finished.was_abandoned, silent.was_abandoned) == (False, True)


async def test_what_is_kept_is_abandoned_when_the_room_is_left_by_an_error() -> None:
    work = Work()
    with pytest.raises(BaseExceptionGroup):
        async with Background(0.1) as background:
            background.keep(work)
            raise OSError("a loop of the node has failed")
    assert work.was_abandoned


async def test_what_is_kept_is_abandoned_and_tasks_end_when_background_work_fails() -> None:
    work, slow_has_ended = Work(), asyncio.Event()

    async def fail() -> None:
        raise ValueError("a bug")

    async def slow() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            slow_has_ended.set()

    with pytest.raises(BaseExceptionGroup, match="unhandled"):
        async with Background(0.1) as background:
            background.keep(work)
            background.start(slow())
            await asyncio.sleep(0)
            background.start(fail())
            await asyncio.sleep(10)
    assert slow_has_ended.is_set()
    assert work.was_abandoned


async def test_a_room_whose_process_is_gone_while_it_is_left_begins_nothing() -> None:
    work, background = Work(), Background(10)
    await background.__aenter__()
    background.keep(work)
    leaving = background.__aexit__(None, None, None)
    leaving.send(None)
    leaving.close()  # as a coroutine whose loop was dropped: it can await nothing any more
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert background.is_over and not work.was_abandoned
