"""Counters, sets and maps: clients that change them under faults, and what is read in the end.

Beside them some write and read one key of a keyspace in which the last writer wins.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Final

from ringmill.client.checked.merging_calls import MergingKind
from ringmill.client.checked.merging_plans import MERGING_KEYS, PlannedChange, draw_changes
from ringmill.client.routing.directory import Directory
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.merging.ablations import MERGING_ABLATIONS
from ringmill.simulator.subjects.merging.checkers import check_merging
from ringmill.simulator.subjects.merging.last_sessions import LastSession
from ringmill.simulator.subjects.merging.last_writers import (
    LAST_KEY,
    LAST_SPACE,
    LAST_WRITERS,
    LastCall,
    LastKind,
    PlannedLast,
    check_last,
    draw_last,
)
from ringmill.simulator.subjects.merging.marks import MERGING_MARKS
from ringmill.simulator.subjects.merging.sessions import MergingSession
from ringmill.simulator.subjects.merging.workload import keyspaces_for
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.working_off import client_in, ended_with, insist_on, work_off
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["MERGING", "MergingWorkload"]

_CHANGES: Final = 120
_SESSIONS: Final = 5
_OF_ONE_NODE: Final = 0.5
_FLIGHT_S: Final = 6.0  # the longest a change may still be under way at its coordinator
_CORE, _LAST = "m-core", "m-last"
_LAST_CORE, _LAST_OF_ALL = "v-core", "v-last"
_PROGRESS: Final[dict[str, tuple[MergingKind, ...]]] = {
    "counter": ("count", "get"),
    "set": ("put", "remove", "get"),
    "map": ("put", "remove", "get"),
}


class MergingWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        draws = stream(seed, "merging")
        self.plans = draw_changes(
            draws, changes=_CHANGES, sessions=_SESSIONS, pause_s=draws.choice((0.02, 0.2))
        )
        self._names = [f"m{number}" for number in range(_SESSIONS)]
        self._last_plans = draw_last(stream(seed, "merging/last"))
        self._last: list[LastCall] = []

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [
            f"{plan.index:4d}  {plan.session} {plan.policy} {plan.kind} {plan.entry.decode()} {plan.amount}"
            for plan in self.plans
        ]

    def join(self, world: World) -> None:
        self._world = world
        world.ground.clients += [*self._names, *LAST_WRITERS, _CORE, _LAST, _LAST_CORE, _LAST_OF_ALL]

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*map(self._work, self._names), *map(self._write_last, LAST_WRITERS)]

    def rests_on(self) -> Sequence[Collection[str]]:
        topology = self._world.topology
        ids = {space.name: space.id for space in self._world.keyspaces}
        keys = {f"{policy}s": key for policy, key in MERGING_KEYS.items()} | {LAST_SPACE: LAST_KEY}
        return [topology.owners(topology.partition_of(ids[name], key)) for name, key in keys.items()]

    async def progress(self) -> None:
        rest = self._world.history.core.rest
        core = [node.address for name, node in self._world.nodes.items() if name not in rest]
        plans = [
            _plan(10_000 + at, _CORE, policy, kind)
            for at, (policy, kinds) in enumerate(_PROGRESS.items())
            for kind in kinds
        ]
        await self._ask(_CORE, plans, 5.0, core, Within, is_of_core=True)
        kinds: tuple[LastKind, ...] = ("put", "delete", "put", "get")
        last = [PlannedLast(10_000 + at, _LAST_CORE, kind, 0.0) for at, kind in enumerate(kinds)]
        await self._ask_last(_LAST_CORE, last, 5.0, core, Within, is_of_core=True)

    async def wait_idle(self) -> None:
        await asyncio.sleep(_FLIGHT_S)
        for process in [node for node in self._world.living() if node.disk.is_rotten]:
            await self._world.heal_damage(process)

    async def read_final_state(self) -> None:
        plans = [_plan(20_000 + at, _LAST, policy, "get") for at, policy in enumerate(MERGING_KEYS)]
        process, session = self._session(_LAST, 5.0, list(self._world.addresses), Directory)
        calls = self._world.history.merging
        await insist_on(self._world, process, session, plans, calls, lambda call: call.outcome == "ok")
        process, reader = self._last_session(_LAST_OF_ALL, 5.0, list(self._world.addresses), Directory)
        last = [PlannedLast(20_000, _LAST_OF_ALL, "get", 0.0)]
        await insist_on(self._world, process, reader, last, self._last, lambda call: call.outcome == "ok")

    def unrest(self) -> list[Violation]:
        last_error = f": {last}" if (last := ended_with(self._world.history.merging, _LAST)) else ""
        return [
            Violation("C2", b"", f"counters, sets and maps are not at rest long after healing{last_error}")
        ]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        return [*check_merging(history.merging), *check_last(self._last, history)]

    def figures(self, history: History) -> Figures:
        calls = Counter(f"{call.policy} {call.kind} {call.outcome}" for call in history.merging)
        return calls + Counter(f"lww {call.kind} {call.outcome}" for call in self._last)

    async def _work(self, name: str) -> None:
        """Half of the clients know one node only, so that several nodes coordinate the changes of a key."""
        draws = stream(self._seed, f"client/{name}")
        timeout_s = draws.choice((0.3, 1.0, 5.0))
        plans = [plan for plan in self.plans if plan.session == name]
        addresses, directory = list(self._world.addresses), Directory
        if draws.random() < _OF_ONE_NODE:
            addresses, directory = [draws.choice(addresses)], Within
        await self._ask(name, plans, timeout_s, addresses, directory)

    async def _write_last(self, name: str) -> None:
        draws = stream(self._seed, f"client/{name}")
        timeout_s, addresses = draws.choice((0.3, 1.0, 5.0)), list(self._world.addresses)
        plans = [plan for plan in self._last_plans if plan.session == name]
        await self._ask_last(name, plans, timeout_s, [draws.choice(addresses)], Within)

    async def _ask_last(
        self,
        name: str,
        plans: Sequence[PlannedLast],
        timeout_s: float,
        addresses: Sequence[str],
        directory: type[Directory],
        *,
        is_of_core: bool = False,
    ) -> None:
        process, session = self._last_session(name, timeout_s, addresses, directory)
        await work_off(self._world, process, session, plans, self._last, is_of_core=is_of_core)

    def _last_session(
        self, name: str, timeout_s: float, addresses: Sequence[str], directory: type[Directory]
    ) -> tuple[Process, LastSession]:
        return client_in(self._world, LastSession, name, self._seed, timeout_s, addresses, directory)

    async def _ask(
        self,
        name: str,
        plans: Sequence[PlannedChange],
        timeout_s: float,
        addresses: Sequence[str],
        directory: type[Directory],
        *,
        is_of_core: bool = False,
    ) -> None:
        process, session = self._session(name, timeout_s, addresses, directory)
        calls = self._world.history.merging
        await work_off(self._world, process, session, plans, calls, is_of_core=is_of_core)

    def _session(
        self, name: str, timeout_s: float, addresses: Sequence[str], directory: type[Directory]
    ) -> tuple[Process, MergingSession]:
        return client_in(self._world, MergingSession, name, self._seed, timeout_s, addresses, directory)


def _plan(index: int, session: str, policy: str, kind: MergingKind) -> PlannedChange:
    return PlannedChange(index, session, policy, kind, MERGING_KEYS[policy], 0.0, b"a", 1)


def _describe(figures: Figures) -> str:
    ends = ", ".join(f"{count:,} {name}" for name, count in sorted(figures.items()))
    return f"{sum(figures.values()):,} calls of counters, sets and maps ({ends or 'none'})"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"merging": dict(sorted(figures.items()))}


MERGING: Final = Subject(
    name="merging",
    title="Counters, sets and maps",
    draw=MergingWorkload,
    describe=_describe,
    fields=_fields,
    ablations=MERGING_ABLATIONS,
    marks=MERGING_MARKS,
    keyspaces=keyspaces_for,
)
