"""Clients that work off plans, round after round, until they are told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

__all__ = ["work_rounds"]

CallerT = TypeVar("CallerT")
PlanT = TypeVar("PlanT", bound="Planned")


class Planned(Protocol):
    """One thing that a client will ask for."""

    @property
    def session(self) -> str:
        """The client's name among the callers."""
        ...

    @property
    def pause_s(self) -> float:
        """Before it is asked."""
        ...


async def work_rounds(
    callers: Mapping[str, CallerT],
    drawn: Callable[[int], Sequence[PlanT]],
    ask: Callable[[CallerT, PlanT], Awaitable[object]],
    is_over: Callable[[], bool],
) -> None:
    """Draw the plans of a round, have each client ask its own one after the other, and draw again.

    `drawn` is called with the number of the round, from 0 on.  Once `is_over()`, each client finishes what it
    has asked.
    """
    number = 0
    while not is_over():
        plans = drawn(number)
        async with asyncio.TaskGroup() as group:
            for name, caller in callers.items():
                own = [plan for plan in plans if plan.session == name]
                group.create_task(_work_off(caller, own, ask, is_over))
        number += 1


async def _work_off(
    caller: CallerT,
    plans: Sequence[PlanT],
    ask: Callable[[CallerT, PlanT], Awaitable[object]],
    is_over: Callable[[], bool],
) -> None:
    for plan in plans:
        await asyncio.sleep(plan.pause_s)
        if is_over():
            return
        await ask(caller, plan)
