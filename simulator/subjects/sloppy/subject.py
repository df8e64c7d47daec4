"""A sloppy keyspace: clients that write it under faults, fallbacks that are watched, and what is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ringmill.client.routing.directory import Directory
from ringmill.simulator.checkers.promptness import late_calls
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.subjects.sloppy.ablations import SLOPPY_ABLATIONS
from ringmill.simulator.subjects.sloppy.checkers import check_fresh, check_kept, check_receipts, check_sloppy
from ringmill.simulator.subjects.sloppy.keepers import Keepers
from ringmill.simulator.subjects.sloppy.marks import SLOPPY_MARKS
from ringmill.simulator.subjects.sloppy.record import SloppyCall, SloppyKind
from ringmill.simulator.subjects.sloppy.sessions import SloppySession
from ringmill.simulator.subjects.sloppy.workload import KEYS, PlannedCall, draw_calls, keyspaces_for
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.working_off import client_in, ended_with, insist_on, work_off
from ringmill.simulator.world.node_process import NodeProcess
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["SLOPPY", "SloppyWorkload"]

_CALLS: Final = 90
_SESSIONS: Final = 5
_FLIGHT_S: Final = 6.0  # the longest a write may still be under way at its coordinator
_LOOK_EVERY_S: Final = 0.5
_AT_REST_S: Final = 0.25
_LAST_LOOKS: Final = 20  # after the last client has ended, while nodes may still be down
_CORE, _LAST = "l-core", "l-end"
_PROGRESS: Final[tuple[SloppyKind, ...]] = ("put", "get")


class SloppyWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        draws = stream(seed, "sloppy")
        self.plans = draw_calls(draws, calls=_CALLS, sessions=_SESSIONS, pause_s=draws.choice((0.05, 0.2)))
        self._names = [f"l{number}" for number in range(_SESSIONS)]
        self.calls: list[SloppyCall] = []
        self._at_work = len(self._names)
        self._held: dict[tuple[str, bytes], Sequence[bytes]] = {}

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [
            f"{plan.index:4d}  {plan.session} {plan.kind} {plan.key.decode()} {plan.level or ''}"
            for plan in self.plans
        ]

    def join(self, world: World) -> None:
        self._world = world
        world.ground.clients += [*self._names, _CORE]
        self._keepers = Keepers(world, self.calls)

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*map(self._work, self._names), self._watch()]

    def rests_on(self) -> Sequence[Collection[str]]:
        return [self._keepers.owners(key) for key in KEYS]

    async def progress(self) -> None:
        rest = self._world.history.core.rest
        core = [node.address for name, node in self._world.nodes.items() if name not in rest]
        plans = [
            PlannedCall(10_000 + 2 * at + step, _CORE, kind, key, None, 0.0)
            for at, key in enumerate(KEYS)
            for step, kind in enumerate(_PROGRESS)
        ]
        await self._ask(_CORE, plans, 5.0, core, Within, is_of_core=True)

    async def wait_idle(self) -> None:
        await self._keepers.check_promises()
        await asyncio.sleep(_FLIGHT_S)
        for process in [node for node in self._world.living() if node.disk.is_rotten]:
            await self._world.heal_damage(process)
        while any(map(self._has_work, self._world.living())):  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_AT_REST_S)
        await self._wait_compared()

    async def read_final_state(self) -> None:
        await self._keepers.check_promises()
        for key in KEYS:
            for owner in self._keepers.owners(key):
                if owner not in self._world.history.lost:
                    values = await self._keepers.held_by(owner, key)
                    if values is not None:
                        self._held[owner, key] = values
        plans = [PlannedCall(20_000 + at, _LAST, "get", key, None, 0.0) for at, key in enumerate(KEYS)]
        process, session = self._session(_LAST, 5.0, list(self._world.addresses), Directory)
        await insist_on(self._world, process, session, plans, self.calls, lambda call: call.outcome == "ok")

    def unrest(self) -> list[Violation]:
        last_error = f"; {last}" if (last := ended_with(self.calls, _LAST)) else ""
        waiting = [node.name for node in self._world.living() if self._has_work(node)]
        return [
            Violation(
                "C2",
                b"",
                f"hints wait, or copies are not compared, long after healing: {waiting}{last_error}",
            )
        ]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        gone = {*history.lost, *history.damaged}
        owners = {key: self._keepers.owners_ever(key) for key in KEYS}
        late = late_calls(self.calls)
        return [
            *(Violation("C22", call.key, f"{call.kind} of {call.session} {story}") for call, story in late),
            *check_sloppy(self.calls, self._held, gone),
            *check_receipts(self.calls, self._keepers.row_of),
            *check_fresh(self.calls, owners, gone),
            *check_kept(self._keepers.broken, gone),
        ]

    def figures(self, history: History) -> Figures:
        counts = Counter(f"{call.kind} {call.outcome}" for call in self.calls)
        counts["by fallbacks"] = sum(
            any(ack.role == "fallback" for ack in call.replicas) for call in self.calls
        )
        return counts

    def _has_work(self, process: NodeProcess) -> bool:
        """It is not up, or has something for an owner that can take it."""
        if process.node is None:
            return True
        lost, anti_entropy = self._world.history.lost, process.node.repair.anti_entropy
        if any(target not in lost for target in process.node.replica.hints.counts()):
            return True
        is_asked = not (anti_entropy.is_done or anti_entropy.waiting)
        return is_asked or any(node not in lost for _, node in anti_entropy.waiting)

    async def _wait_compared(self) -> None:
        """Wait until all living owners have compared in pairs: a hint may have gone with its disk."""
        loop, lost = asyncio.get_running_loop(), self._world.history.lost
        began = loop.time()
        left = {
            (one, self._world.topology.partition_of(self._keepers.keyspace, key), other)
            for key in KEYS
            for one in self._keepers.owners(key)
            for other in self._keepers.owners(key)
            if one < other and one not in lost and other not in lost
        }
        for one, partition, other in sorted(left):
            while True:
                node = self._world.nodes[one].node
                ago = None if node is None else node.replica.comparisons.equal_s_ago(partition, other)
                if ago is not None and ago < (loop.time() - began) / 2:  # by the clock of a node
                    break
                await asyncio.sleep(_AT_REST_S)

    async def _watch(self) -> None:
        """As long as clients work, and some time after that."""
        left = _LAST_LOOKS
        while left:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._keepers.check_promises()
            left -= self._at_work == 0

    async def _work(self, name: str) -> None:
        timeout_s = stream(self._seed, f"client/{name}").choice((0.5, 1.0, 5.0))
        plans = [plan for plan in self.plans if plan.session == name]
        try:
            await self._ask(name, plans, timeout_s, list(self._world.addresses), Directory)
        finally:
            self._at_work -= 1

    async def _ask(
        self,
        name: str,
        plans: Sequence[PlannedCall],
        timeout_s: float,
        addresses: Sequence[str],
        directory: type[Directory],
        *,
        is_of_core: bool = False,
    ) -> None:
        process, session = self._session(name, timeout_s, addresses, directory)
        await work_off(self._world, process, session, plans, self.calls, is_of_core=is_of_core)

    def _session(
        self, name: str, timeout_s: float, addresses: Sequence[str], directory: type[Directory]
    ) -> tuple[Process, SloppySession]:
        return client_in(self._world, SloppySession, name, self._seed, timeout_s, addresses, directory)


def _tuned(seed: int, tunables: Tunables) -> Tunables:
    """Hints are often near their bound."""
    most_bytes = stream(seed, "sloppy/tunables").choice((tunables.node.hints.most_bytes, 1500, 400))
    node = tunables.node
    return replace(tunables, node=replace(node, hints=replace(node.hints, most_bytes=most_bytes)))


def _describe(figures: Figures) -> str:
    done = sum(count for name, count in figures.items() if name.endswith(" ok"))
    calls = sum(count for name, count in figures.items() if name != "by fallbacks")
    return (
        f"{calls:,} calls in a sloppy keyspace ({done:,} answered, "
        f"{figures.get('by fallbacks', 0):,} writes with fallbacks)"
    )


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"sloppy": dict(sorted(figures.items()))}


SLOPPY: Final = Subject(
    name="sloppy",
    title="Sloppy quorums",
    draw=SloppyWorkload,
    describe=_describe,
    fields=_fields,
    ablations=SLOPPY_ABLATIONS,
    marks=SLOPPY_MARKS,
    keyspaces=keyspaces_for,
    tuned=_tuned,
)
