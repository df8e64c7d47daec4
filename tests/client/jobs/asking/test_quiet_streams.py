"""A stream that tells nothing is read on while its sender answers, and left when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ringmill.client.jobs.asking.quiet_streams import until_done, while_answered
from ringmill.cluster.errors import NotFound, RingmillError, Unavailable


class Sender:
    """Tells what is put into `says`, None at its end; `is_there` says whether it answers otherwise."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.is_there = True
        self.proofs = 0
        self.is_left = False

    async def stream(self) -> AsyncIterator[str]:
        try:
            while (said := await self.says.get()) is not None:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            self.is_left = True

    async def prove(self) -> None:
        self.proofs += 1
        if not self.is_there:
            raise Unavailable("it does not answer", outcome="failed")
        if self.proofs == 3:
            self.says.put_nowait("late")

    def heard(self) -> AsyncIterator[str]:
        return while_answered(self.stream(), self.prove, lambda: 0.01)


async def test_what_comes_late_is_told_by_a_sender_that_answers() -> None:
    sender = Sender()
    sender.says.put_nowait("soon")
    heard = sender.heard()
    async with asyncio.timeout(20):
        assert [await anext(heard), await anext(heard)] == ["soon", "late"]
        sender.says.put_nowait(None)
        assert [each async for each in heard] == []
    assert sender.proofs >= 3 and sender.is_left


async def test_a_sender_that_does_not_answer_is_left() -> None:
    sender = Sender()
    sender.says.put_nowait("soon")
    heard = sender.heard()
    async with asyncio.timeout(20):
        assert await anext(heard) == "soon"
        sender.is_there = False
        with pytest.raises(Unavailable):
            await anext(heard)
    assert sender.is_left


async def test_an_error_of_the_stream_is_told_as_itself() -> None:
    sender = Sender()
    sender.says.put_nowait(NotFound("no such job"))
    with pytest.raises(NotFound):
        await anext(sender.heard())
    assert not sender.proofs


async def silent() -> None:
    await asyncio.sleep(0.05)
    raise Unavailable("it does not answer", outcome="unknown")


async def said(after_s: float, word: str | RingmillError) -> str:
    await asyncio.sleep(after_s)
    if isinstance(word, RingmillError):
        raise word
    return word


@pytest.mark.parametrize("word", ["accepted", NotFound("no such job")])
async def test_what_comes_while_it_asks_is_not_thrown_away(word: str | RingmillError) -> None:
    call = asyncio.ensure_future(said(0.02, word))
    await until_done(call, silent, lambda: 0.01)
    assert (call.exception() or call.result()) is word


async def test_a_call_that_has_ended_waits_for_no_question() -> None:
    async with asyncio.timeout(20):
        await until_done(asyncio.ensure_future(said(0.02, "")), asyncio.Event().wait, lambda: 0.01)


async def test_a_silent_call_is_left_and_goes_on() -> None:
    call = asyncio.ensure_future(said(0.2, "late"))
    with pytest.raises(Unavailable):
        await until_done(call, silent, lambda: 0.01)
    assert await call == "late"


async def test_a_message_that_comes_while_it_asks_is_told() -> None:
    sender = Sender()
    sender.prove = silent  # type: ignore[method-assign]
    heard = sender.heard()
    asyncio.get_running_loop().call_later(0.03, sender.says.put_nowait, "late")
    async with asyncio.timeout(20):
        assert await anext(heard) == "late"
        with pytest.raises(Unavailable):
            await anext(heard)
