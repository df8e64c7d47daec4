"""Which names of writes a gateway remembers, and as what it sends a repeat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from ringmill.client.gateway.http.idempotency import IdempotencyMemory
from ringmill.client.gateway.http.problems import HttpRefusal
from ringmill.client.operations import OperationName


class Writes:
    """What is done, and by which attempts; `error` is raised instead of an answer."""

    def __init__(self, most: int = 100) -> None:
        self.memory = IdempotencyMemory(most)
        self.attempts: list[int] = []
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def once(self, key: str, *, caller: str = "honest", fingerprint: bytes = b"f") -> web.Response:
        async def do(operation: OperationName) -> web.Response:
            self.attempts.append(operation.attempt)
            await self.may_end.wait()
            if self.error is not None:
                raise self.error
            return web.Response(body=key.encode())

        return await self.memory.once(
            ("token", key), caller, fingerprint, lambda: OperationName(1, 1, 1), do, lambda _: None
        )

    async def is_known(self, key: str) -> bool:
        return (await self.once(key)).headers.get("Idempotency-Replayed") == "true"


def refusal(outcome: str) -> HttpRefusal:
    return HttpRefusal(503, "UNAVAILABLE", "no", outcome=outcome)


async def test_writes_that_certainly_fail_push_no_name_out() -> None:
    writes = Writes(most=10)
    await writes.once("mine")
    writes.error = refusal("failed")
    for number in range(100):
        with pytest.raises(HttpRefusal):
            await writes.once(f"{number}", caller="stranger")
    writes.error = None
    assert await writes.is_known("mine")
    assert len(writes.memory._named) == 1


async def test_a_name_whose_write_certainly_failed_may_be_that_of_another_one() -> None:
    writes = Writes()
    writes.error = refusal("failed")
    with pytest.raises(HttpRefusal):
        await writes.once("k")
    writes.error = None
    assert (await writes.once("k", fingerprint=b"other")).status == 200


@pytest.mark.parametrize("error", [refusal("unknown"), KeyError("a bug")])
async def test_a_repeat_of_what_may_have_been_done_is_a_later_attempt(error: Exception) -> None:
    writes = Writes()
    for failing in (error, refusal("failed"), None):
        writes.error = failing
        try:
            await writes.once("k")
        except (HttpRefusal, KeyError) as raised:
            assert raised is failing
    assert writes.attempts == [0, 1, 1], "a later attempt that failed leaves open what the first one did"


async def test_the_caller_with_most_names_loses_its_oldest() -> None:
    writes = Writes(most=10)
    await writes.once("mine")
    for number in range(100):
        await writes.once(f"{number}", caller="busy")
    assert len(writes.memory._named) == 10
    assert await writes.is_known("mine") and await writes.is_known("99")
    before = len(writes.attempts)
    await writes.once("0", caller="busy")
    assert len(writes.attempts) == before + 1, "it was forgotten"


async def test_what_is_under_way_is_not_forgotten() -> None:
    writes = Writes(most=2)
    writes.may_end.clear()
    waiting: list[asyncio.Task[Any]] = [asyncio.create_task(writes.once(f"{n}")) for n in range(4)]
    await asyncio.sleep(0.01)
    again = asyncio.create_task(writes.once("0"))
    await asyncio.sleep(0.01)
    writes.may_end.set()
    await asyncio.gather(*waiting, again)
    assert len(writes.attempts) == 4
    await writes.once("more")
    assert len(writes.memory._named) <= 4
