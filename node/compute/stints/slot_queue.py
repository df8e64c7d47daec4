"""The slots of a worker: which of its attempts has one, and those that wait for one, in their order.

An attempt that has a slot runs by itself, or in a stint with others that are like it and come right behind
it, where they are known to be short.

Rule J22: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ringmill.cluster.overload.giving_way import put_off
from ringmill.node.compute.attempt_runner import AttemptRunner
from ringmill.node.compute.stints.at_work import AtWork
from ringmill.node.compute.stints.stint import MOST_TOGETHER, Ended, Stint, are_alike

__all__ = ["MOST_PUT_OFF_S", "SlotQueue", "Waiting"]

MOST_PUT_OFF_S: Final = 10.0
"""The longest that requests of clients put an attempt off."""


def _turn() -> asyncio.Future[Ended | None]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Waiting:
    """An attempt that waits.  Its turn gives None when it has a slot, or how it has ended in a stint."""

    runner: AttemptRunner
    turn: asyncio.Future[Ended | None] = field(default_factory=_turn)
    is_alone: bool = False  # it was in a stint, and was not run
    stint: Stint | None = None

    def end(self, how: Ended) -> bool:
        """False when it was stopped."""
        if self.turn.done():
            return False
        self.turn.set_result(how)
        return True


class SlotQueue:
    """`together` says how many attempts may be in one stint with an attempt, itself counted, as far as they
    are alike.  Those whose turn comes while memory is short end without having begun.  A stint is put off
    while `is_busy`.  `begin` runs a coroutine in a task of the worker."""

    def __init__(
        self,
        slots: int,
        *,
        together: Callable[[AttemptRunner], int],
        is_busy: Callable[[], bool],
        at_work: AtWork,
        begin: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._slots = self._free = slots
        self._together = together
        self._is_busy = is_busy
        self._at_work = at_work
        self._begin = begin
        self._waiting: deque[Waiting] = deque()

    async def wait(self, runner: AttemptRunner) -> Ended | None:
        """None when the attempt has a slot, which is to be given back by `free`; else how it has ended.

        When it is cancelled, nothing of it runs any more; in a stint it may not have begun.
        """
        waiting = Waiting(runner)
        self._waiting.append(waiting)
        self._give()
        try:
            return await waiting.turn
        except asyncio.CancelledError:
            await self._leave(waiting)
            raise

    def free(self) -> None:
        """A slot is given back."""
        self._free += 1
        self._give()

    async def _leave(self, waiting: Waiting) -> None:
        if not waiting.turn.cancelled():  # it had its turn in this very moment
            if waiting.turn.result() is None:
                self.free()
        elif waiting in self._waiting:
            self._waiting.remove(waiting)
        elif waiting.stint is not None:
            await waiting.stint.stop(waiting.runner)

    def _give(self) -> None:
        while self._free and self._waiting:
            if self._waiting[0].turn.done():  # it is stopped, and is about to leave
                self._waiting.popleft()
                continue
            if (refused := self._at_work.refusal) is not None:  # rule J34
                self._waiting.popleft().end(refused)
                continue
            first, *others = self._next()
            self._free -= 1
            if others:
                self._begin(self._run_stint([first, *others]))
            else:
                first.turn.set_result(None)

    def _next(self) -> list[Waiting]:
        """Those that get the next slot.  Others are left, for the other slots, and to run while these are
        reported."""
        first = self._waiting.popleft()
        taken = [first]
        most = 1 if first.is_alone else self._together(first.runner)
        most = min(MOST_TOGETHER, most, 1 + len(self._waiting) // (1 + self._slots))
        while len(taken) < most and self._waiting:
            other = self._waiting[0]
            if other.is_alone or not are_alike(first.runner.assignment, other.runner.assignment):
                break
            self._waiting.popleft()
            if not other.turn.done():
                taken.append(other)
        return taken

    async def _run_stint(self, taken: Sequence[Waiting]) -> None:
        """Those that it does not run wait for another turn; each by itself, if one of them has ended it."""
        stint: Stint | None = None
        try:
            await put_off(lambda: self._is_busy() and not _are_gone(taken), MOST_PUT_OFF_S)  # rule O8
            left = {each.runner.name: each for each in taken if not each.turn.done()}
            stint = Stint(
                runners=[each.runner for each in left.values()],
                at_work=self._at_work,
                ended=lambda runner, how: left[runner.name].end(how),
                undone=lambda runners: self._come_back([left[each.name] for each in runners], is_alone=False),
                begin=self._begin,
            )
            for each in left.values():
                each.stint = stint
            if left:
                await stint.run()
        finally:
            rest = [each for each in taken if each.stint is stint]
            self._come_back(rest, is_alone=not (stint and stint.has_left_off))
            self.free()

    def _come_back(self, undone: Sequence[Waiting], *, is_alone: bool) -> None:
        """To the head of those that wait."""
        for each in reversed(undone):
            each.stint, each.is_alone = None, is_alone
            if not each.turn.done():
                self._waiting.appendleft(each)
        self._give()


def _are_gone(taken: Sequence[Waiting]) -> bool:
    """Whether all of them were stopped meanwhile."""
    return all(each.turn.done() for each in taken)
