"""Watched keys: a few that stay the same, written all the time, and clients that follow them to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, Self

from chaos.loads.ground import Ground
from chaos.loads.load import Load, drawn_timeout_s
from chaos.loads.outcomes import counted
from ringmill.client.checked.planned_rounds import work_rounds
from ringmill.client.routing.directory import Directory
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import Operation
from ringmill.simulator.subjects.objects.sessions import Session, wandering
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.subjects.watches.checkers import ShownChange, check_watches
from ringmill.simulator.subjects.watches.sessions import OF_KEYS, OF_PREFIX, WATCHERS, WatchSession
from ringmill.simulator.subjects.watches.workload import draw_watched
from ringmill.simulator.world.seeds import stream

__all__ = ["WatchLoad"]

SESSIONS: Final = 2
ROUND_OPERATIONS: Final = 100
CAUGHT_UP_S: Final = 60.0
LOOK_S: Final = 1.0


class WatchLoad(Load):
    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        draws = stream(ground.seed, "watches/sessions")
        self._by_name = {
            name: ground.client(Session, name, drawn_timeout_s(draws))
            for name in (f"ws{number}" for number in range(SESSIONS))
        }
        self._shown: list[ShownChange] = []
        self._watchers = [
            ground.client(
                WatchSession,
                name,
                5.0,
                shown=self._shown,
                directory=Directory if level is None else wandering(stream(ground.seed, f"wanders/{name}")),
            )
            for name, level in {**OF_KEYS, **OF_PREFIX}.items()
        ]
        self._watching: list[asyncio.Task[None]] = []
        self._began_late = [*OF_PREFIX]

    def _sessions(self) -> list[Session | WatchSession]:
        return [*self._by_name.values(), *self._watchers]

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        seed = self._ground.seed
        keys = sorted({plan.key for plan in self._drawn(0)})
        self._watching = [
            asyncio.create_task(watcher.watch(keys, stream(seed, f"leaves/{watcher.name}")))
            for watcher in self._watchers
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await super().__aexit__(*exc)

    async def work(self) -> None:
        await self._begin()
        await work_rounds(self._by_name, self._drawn, self._ask, self._is_over)

    async def _begin(self) -> None:
        """Until each watcher of the prefix was told of a first write, or that takes very long.

        One that begins later is told of no delete from before.
        """
        session = next(iter(self._by_name.values()))
        first = next(plan for plan in self._drawn(0) if plan.kind == "put")
        number = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(CAUGHT_UP_S):
                while self._late() and not self._is_over():
                    await self._ask(session, replace(first, value=b"begin%d/%b" % (number, first.value)))
                    number += 1
                    await asyncio.sleep(LOOK_S)
        self._began_late = self._late()

    def _late(self) -> list[str]:
        told = {each.watcher for each in self._shown}
        return [name for name in OF_PREFIX if name not in told]

    async def read_final_state(self) -> None:
        """Until all watchers have been told all, or that takes very long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CAUGHT_UP_S):
                while self.check():  # noqa: ASYNC110 - what they are told sets no event
                    await asyncio.sleep(LOOK_S)

    def check(self) -> list[Violation]:
        """A watch that has ended by itself was a promise, too."""
        ended = [
            Violation("C19", b"", f"the watch of {name} ended: {watching.exception()!r}")
            for name, watching in zip(WATCHERS, self._watching, strict=True)
            if watching.done() and not watching.cancelled()
        ]
        return [*ended, *check_watches(self._shown, self._ground.history, WATCHERS, self._began_late)]

    def figures(self) -> Mapping[str, int]:
        asked = counted(one for one in self._ground.history.operations if one.session in self._by_name)
        return {"told": len(self._shown), **asked}

    async def _ask(self, session: Session, plan: PlannedOperation) -> Operation:
        operations = self._ground.history.operations
        return await session.ask(replace(plan, index=len(operations)), operations)

    def _drawn(self, number: int) -> list[PlannedOperation]:
        mark = b"r%d/" % number
        draws = stream(self._ground.seed, f"watches/{number}")
        plans = draw_watched(draws, operations=ROUND_OPERATIONS, sessions=SESSIONS)
        return [replace(plan, value=mark + plan.value) for plan in plans]
