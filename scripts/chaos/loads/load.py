"""What the loads have in common: sessions that work off plans, round after round, until the faults end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Any, Final, Self

from chaos.loads.ground import Ground
from ringmill.simulator.checkers.violation import Violation

__all__ = ["Load", "drawn_timeout_s", "until_answered"]

AGAIN_S: Final = 0.25


class Load(ABC):
    """One sort of request.  `async with` owns its sessions."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for session in self._sessions():
            await self._stack.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @abstractmethod
    def _sessions(self) -> Sequence[Any]:
        """Those that work for as long as the load is entered."""

    @abstractmethod
    async def work(self) -> None:
        """Ask until the ground says that it is over, and the last requests are answered."""

    @abstractmethod
    async def read_final_state(self) -> None:
        """Ask for what the checkers have to see in the end: nodes are at rest, and owners were looked at."""

    @abstractmethod
    def check(self) -> list[Violation]:
        """What cannot be; keys and values are judged by the run, as several loads write them."""

    @abstractmethod
    def figures(self) -> Mapping[str, int]:
        """What was asked and how it ended, each name with how often."""

    def _is_over(self) -> bool:
        return self._ground.is_over.is_set()


def drawn_timeout_s(draws: Random) -> float:
    """How long a session waits for an answer: not long for some, so that requests end as unknown."""
    return draws.choice((0.3, 1.0, 5.0))


async def until_answered(read: Callable[[], Awaitable[Any]]) -> None:
    """Read until it is told; how long that may take is the caller's to say."""
    while (await read()).outcome != "ok":  # noqa: ASYNC110 - an answer is not an event of this process
        await asyncio.sleep(AGAIN_S)
