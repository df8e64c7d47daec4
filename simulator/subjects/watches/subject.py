"""Watchers: clients that follow keys while others write them, under faults.

The load is that of keys and values, on keys of its own.  Some watchers ask one owner only.  In the end every
watcher must have been told what each of its keys holds, and no key may ever have gone back for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from ringmill.client.arguments import Level
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.router import Router
from ringmill.client.values import KeyChange
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.versions.context_token import decode_context
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.mix import Mix
from ringmill.simulator.subjects.objects.sessions import SimulatedLink, wandering
from ringmill.simulator.subjects.objects.subject import ObjectWorkload
from ringmill.simulator.subjects.objects.workload import PlannedOperation, draw_workload
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.watches.ablations import WATCH_ABLATIONS
from ringmill.simulator.subjects.watches.checkers import Told, check_watches
from ringmill.simulator.subjects.watches.marks import WATCH_MARKS
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.world import DEFAULT_KEYSPACE, World

__all__ = ["WATCHES", "WatchWorkload"]

_MIX: Final = Mix(
    contexts=(2, 4, 2), levels={"": 2, "one": 3}, durabilities={"": 1}, pauses_s=(0.0, 0.2, 1.0)
)
_KEYS: Final = 4
_WATCHERS: Final[Mapping[str, Level | None]] = {"wa0": None, "wa1": "one", "wa2": "one"}
_OF_PREFIX: Final[Mapping[str, Level | None]] = {"wp0": None, "wp1": None}
_EVERY: Final = (*_WATCHERS, *_OF_PREFIX)
_CAUGHT_UP_S: Final = 60.0
_LOOK_S: Final = 0.25
_FOREVER_S: Final = 86400.0
_LEAVES_CHANCE: Final = 0.1


class WatchWorkload(ObjectWorkload):
    """A Workload (simulator/subjects/subject.py)."""

    tag = "w-"

    def _draw(self, options: SimulationOptions) -> list[PlannedOperation]:
        self._twists = ()
        self._told: list[Told] = []
        drawn = stream(self._seed, "watches")
        plans = draw_workload(
            drawn, operations=options.operations, sessions=options.sessions, keys=_KEYS, mix=_MIX
        )
        return [
            replace(plan, session=f"w{plan.session}", key=b"w-" + plan.key, value=b"w-" + plan.value)
            for plan in plans
        ]

    def _names_of(self, options: SimulationOptions) -> list[str]:
        return [f"ws{number}" for number in range(options.sessions)]

    def join(self, world: World) -> None:
        super().join(world)
        world.ground.clients += _EVERY

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*super().act(), self._begin_watching()]

    async def look(self) -> None:
        await super().look()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CAUGHT_UP_S):
                while [*check_watches(self._told, self._world.history, _EVERY)]:  # noqa: ASYNC110 - virtual time costs nothing
                    await asyncio.sleep(_LOOK_S)
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    def check(self, history: History) -> list[Violation]:
        return [*super().check(history), *check_watches(self._told, history, _EVERY)]

    def figures(self, history: History) -> Figures:
        return {**super().figures(history), "told": len(self._told)}

    async def _begin_watching(self) -> None:
        """Each watcher follows all keys from now on, beyond the end of the load."""
        self._watching = [
            *(self._watch(name, level, is_of_prefix=False) for name, level in _WATCHERS.items()),
            *(self._watch(name, level, is_of_prefix=True) for name, level in _OF_PREFIX.items()),
        ]

    def _watch(self, name: str, level: Level | None, *, is_of_prefix: bool) -> asyncio.Task[None]:
        process, transport = self._process_of(name)
        nodes = self._world.addresses
        kind = Directory if level is None else wandering(stream(self._seed, f"client/{name}/wanders"))
        directory = kind(list(nodes), lambda address: SimulatedLink(transport, nodes[address]))
        entropy = SeededEntropy(self._seed, f"client/{name}")
        space = AsyncKeyspace("default", Router(directory, entropy, 5.0), OperationNames(entropy))

        async def work() -> None:
            async with directory:
                with suppress(RingmillError):
                    await directory.learn(5.0)
                if is_of_prefix:
                    await self._follow_all(space, name, level)
                async with asyncio.TaskGroup() as group:
                    for key in self._keys:
                        group.create_task(self._follow(space, name, key, level))

        return self._world.loop.spawn(process, work())

    async def _follow_all(self, space: AsyncKeyspace, name: str, level: Level | None) -> None:
        """The keys of a prefix; now and then another watch goes on with the cursor of the one before it."""
        draws, cursor = stream(self._seed, f"client/{name}/leaves"), None
        while True:
            changes = space.watch_prefix(self.tag, after=cursor, r=level, patience=_FOREVER_S)
            async for change in changes:
                self._note(name, change)
                cursor = change.cursor
                if draws.random() < _LEAVES_CHANCE:
                    break

    async def _follow(self, space: AsyncKeyspace, name: str, key: bytes, level: Level | None) -> None:
        async for change in space.watch(key, r=level, patience=_FOREVER_S):
            self._note(name, change)

    def _note(self, name: str, change: KeyChange) -> None:
        context = decode_context(change.context.token, DEFAULT_KEYSPACE, change.key)
        seen = {str(actor): count for actor, count in context.vector.entries}
        dots = () if change.item is None else change.item.dots
        self._told.append(Told(name, change.key, seen, dots))


def _told(figures: Figures) -> str:
    return f"{figures['ops']:,} operations on watched keys, {figures['told']:,} changes told"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"watches": {name: figures[name] for name in ("ops", "answered", "told")}}


WATCHES: Final = Subject(
    name="watches",
    title="Watches",
    draw=WatchWorkload,
    told=_told,
    fields=_fields,
    ablations=WATCH_ABLATIONS,
    marks=WATCH_MARKS,
)
