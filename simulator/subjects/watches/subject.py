"""Watchers: clients that follow keys while others write them, under faults.

The load is that of keys and values, on keys of its own.  Some watchers ask one owner only.  In the end every
watcher must have been told what each of its keys holds, and no key may ever have gone back for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ringmill.client.arguments import Level
from ringmill.client.routing.directory import Directory
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.sessions import SimulatedLink, wandering
from ringmill.simulator.subjects.objects.subject import ObjectWorkload
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.watches.ablations import WATCH_ABLATIONS
from ringmill.simulator.subjects.watches.checkers import (
    ShownChange,
    are_caught_up,
    check_ends,
    check_watches,
)
from ringmill.simulator.subjects.watches.marks import WATCH_MARKS
from ringmill.simulator.subjects.watches.sessions import OF_KEYS, OF_PREFIX, WATCHERS, WatchSession
from ringmill.simulator.subjects.watches.workload import TAG, draw_watched
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.world import World

__all__ = ["WATCHES", "WatchWorkload"]

_CAUGHT_UP_S: Final = 60.0
_LOOK_S: Final = 0.25


class WatchWorkload(ObjectWorkload):
    """A Workload (simulator/subjects/subject.py)."""

    tag = TAG

    def _draw(self, options: SimulationOptions) -> list[PlannedOperation]:
        self._twists = ()
        self._shown: list[ShownChange] = []
        self._ends: dict[str, BaseException | None] = {}
        return draw_watched(
            stream(self._seed, "watches"), operations=options.operations, sessions=options.sessions
        )

    def _names_of(self, options: SimulationOptions) -> list[str]:
        return [f"ws{number}" for number in range(options.sessions)]

    def join(self, world: World) -> None:
        super().join(world)
        world.ground.clients += WATCHERS

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*super().act(), self._begin_watching()]

    async def read_final_state(self) -> None:
        await super().read_final_state()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CAUGHT_UP_S):
                while not are_caught_up(self._shown, self._world.history, WATCHERS):  # noqa: ASYNC110 - virtual time costs nothing
                    await asyncio.sleep(_LOOK_S)
        for watching in self._watching.values():
            watching.cancel()
        ends = await asyncio.gather(*self._watching.values(), return_exceptions=True)
        self._ends = dict(zip(self._watching, ends, strict=True))

    def check(self, history: History) -> list[Violation]:
        watches = check_watches(self._shown, history, WATCHERS)
        return [*super().check(history), *watches, *check_ends(self._ends)]

    def figures(self, history: History) -> Figures:
        return {**super().figures(history), "told": len(self._shown)}

    async def _begin_watching(self) -> None:
        """Each watcher follows all keys from now on, beyond the end of the load."""
        self._watching = {name: self._watch(name, level) for name, level in {**OF_KEYS, **OF_PREFIX}.items()}

    def _watch(self, name: str, level: Level | None) -> asyncio.Task[None]:
        process, transport = self._process_of(name)
        nodes = self._world.addresses
        session = WatchSession(
            name,
            addresses=list(nodes),
            dial=lambda address: SimulatedLink(transport, nodes[address]),
            entropy=SeededEntropy(self._seed, f"client/{name}"),
            timeout_s=5.0,
            shown=self._shown,
            directory=Directory if level is None else wandering(stream(self._seed, f"client/{name}/wanders")),
        )

        async def work() -> None:
            async with session:
                await session.watch(self._keys, stream(self._seed, f"client/{name}/leaves"))

        return self._world.loop.spawn(process, work())


def _describe(figures: Figures) -> str:
    return f"{figures['ops']:,} operations on watched keys, {figures['told']:,} changes told"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"watches": {name: figures[name] for name in ("ops", "answered", "told")}}


WATCHES: Final = Subject(
    name="watches",
    title="Watches",
    draw=WatchWorkload,
    describe=_describe,
    fields=_fields,
    ablations=WATCH_ABLATIONS,
    marks=WATCH_MARKS,
)
