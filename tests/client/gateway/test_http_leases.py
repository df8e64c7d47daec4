"""A caller that holds a lease over HTTP goes by signs of life: none comes that would let it act too long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from ringmill.client.gateway.http.answers import lease_answers
from ringmill.client.registers.registers import AsyncRegisters
from tests.client.gateway.http_world import http_door
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]
PATIENCE_S = 20


class Held:
    """A lease that is held for `left_s` seconds from whenever one looks."""

    def __init__(self, left_s: float) -> None:
        self.term = 7
        self.left_s = left_s
        self.lost = asyncio.Event()
        self.is_released = False

    @property
    def is_held(self) -> bool:
        return self.left_s > 0

    async def acquire(self, timeout_s: float | None) -> int:
        return self.term

    async def release(self) -> None:
        self.is_released = True

    def lose(self) -> None:
        self.left_s = 0.0
        self.lost.set()


class Turns:
    """In the place of asyncio in the door: each of its waits ends when the test says so."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._over = asyncio.Semaphore(0)

    async def wait_for(self, lost: Coroutine[Any, Any, bool], pause_s: float) -> None:
        self.pauses.append(pause_s)
        waits = [asyncio.ensure_future(lost), asyncio.ensure_future(self._over.acquire())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not waits[0].done():
                raise TimeoutError
        finally:
            for each in waits:
                each.cancel()

    async def pass_one(self) -> None:
        """Let the door's present wait be over; returns in its next one."""
        async with asyncio.timeout(PATIENCE_S):
            before = len(self.pauses)
            self._over.release()
            while len(self.pauses) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@pytest.mark.parametrize(("duration", "silence_s"), [("", 2.0), ("?duration=3", 1.0), ("?duration=60", 2.0)])
async def test_signs_come_twice_within_the_silence_and_only_while_the_lease_outlasts_it(
    node: Node, duration: str, silence_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, turns = Held(silence_s + 0.1), Turns()
    monkeypatch.setattr(AsyncRegisters, "lease", lambda *_, **__: lease)
    monkeypatch.setattr(lease_answers, "asyncio", turns)
    async with http_door(node[1]) as caller:
        asking = caller.session.post(f"{caller.url}/v1/leases/registers/nightly{duration}")
        async with asking as answer:
            told = [await asyncio.wait_for(answer.content.readline(), PATIENCE_S) for _ in range(4)]
            assert told[:2] == [b"id: 7\n", b"event: held\n"]
            assert json.loads(told[2].removeprefix(b"data: ")) == {"term": 7, "silence": silence_s}
            await turns.pass_one()
            lease.left_s = silence_s - 0.1  # no renewal has succeeded for a while
            for _ in range(3):
                await turns.pass_one()
            lease.left_s = silence_s
            await turns.pass_one()
            lease.lose()
            rest = await asyncio.wait_for(answer.content.read(), PATIENCE_S)
    held, _, lost = rest.partition(b"event: lost\n")
    assert held == b": held\n\n" * 2 and lost
    assert turns.pauses == [silence_s / each for each in (2, 2, 10, 10, 10, 2)]
    assert lease.is_released


async def test_a_lease_that_is_lost_at_once_is_not_told_as_held(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Held(0.0)
    monkeypatch.setattr(AsyncRegisters, "lease", lambda *_, **__: lease)
    async with http_door(node[1]) as caller:
        told = await caller.ask("POST", "/v1/leases/registers/nightly")
    assert told.body.startswith(b"event: lost\n"), told.body


@pytest.mark.parametrize("duration", ["0.5", "2.9", "nan"])
async def test_a_lease_that_is_too_short_for_signs_is_refused(
    node: Node, duration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(AsyncRegisters, "lease", lambda *_, **given: made.append(given))
    async with http_door(node[1]) as caller:
        told = await caller.ask("POST", f"/v1/leases/registers/nightly?duration={duration}")
    assert (told.status, told.json["code"], made) == (400, "INVALID_ARGUMENT", [])
