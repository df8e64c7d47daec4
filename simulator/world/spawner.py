"""The Spawner door inline: a child's work runs in one piece, after a delay that the seed draws.

When the node dies within that delay its child was at work, and dies with it: the work is then done up to one
of its changes of the disk, and no further.  A child may die like that alone as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.ports import FileSystem, TaskProcess
from ringmill.simulator.world.door import Door

__all__ = ["LONGEST_CHILD_S", "InlineSpawner"]

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_CHILD_S: Final = 0.05
_CHANGES: Final = (0, 1, 2, 3, 5, 8, 13, 1_000)
"""How many changes of the disk a child makes before it dies; the last means that it finishes unnoticed."""


class InlineSpawner:
    """`cut_short` when the node is killed, `kill_children` when its children are."""

    def __init__(self, draws: Random, *, longest_s: float = LONGEST_CHILD_S) -> None:
        self._draws = draws
        self._longest_s = longest_s
        self._at_work: dict[int, Callable[[Callable[[object], object]], object]] = {}
        self._killed: set[int] = set()
        self._started = 0

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._started = number = self._started + 1

        def through(door: Callable[[object], object]) -> object:
            return partial(function, *map(door, args), **kwargs)()  # type: ignore[arg-type]

        self._at_work[number] = through
        try:
            await asyncio.sleep(self._draws.random() * self._longest_s)
        finally:
            self._at_work.pop(number, None)
        if number in self._killed:
            raise ChildProcessError(f"child {number} was killed")
        return function(*args, **kwargs)

    @property
    def is_at_work(self) -> bool:
        return bool(self._at_work)

    def cut_short(self, files: FileSystem, draws: Random) -> int:
        """Kill each working child in the middle of its changes to `files`.  Returns how many there were."""
        for work in self._at_work.values():
            with suppress(_Dies, Exception):  # the disk may be faulty as well
                work(_put_in_place(files, _dying(files, draws.choice(_CHANGES))))
        return len(self._at_work)

    def kill_children(self, files: FileSystem, draws: Random) -> int:
        """Let each child at work die alone: the node sees that a moment later.  How many there were."""
        killed = self.cut_short(files, draws)
        self._killed |= set(self._at_work)
        self._at_work.clear()
        return killed

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess:
        raise ChildProcessError("task processes are not simulated")

    async def close(self) -> None:
        """Nothing outlives a call."""


class _Dies(BaseException):
    """The child is gone: none of its code may catch this and go on."""


def _put_in_place(former: object, new: object) -> Callable[[object], object]:
    return lambda given: new if given is former else given


def _dying(files: FileSystem, changes: int) -> FileSystem:
    """A door that lets this number of changes through."""
    left = changes

    def before(path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _Dies

    return Door(lambda path: files, before)
