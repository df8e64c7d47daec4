"""The Spawner door inline: a child's work runs in one piece, after a delay that the seed draws."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import ParamSpec, TypeVar

from cluster.ports import TaskProcess

__all__ = ["InlineSpawner"]

P = ParamSpec("P")
T = TypeVar("T")


class InlineSpawner:
    def __init__(self, draws: Random, *, longest_s: float = 0.05) -> None:
        self._draws = draws
        self._longest_s = longest_s

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(self._draws.random() * self._longest_s)
        return function(*args, **kwargs)

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess:
        raise ChildProcessError("task processes are not simulated")

    async def close(self) -> None:
        """Nothing outlives a call."""
