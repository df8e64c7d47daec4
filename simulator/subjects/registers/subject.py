"""Registers: clients that count, compare and set under faults, and what is read in the end."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Final

from ringmill.client.checked.register_plans import (
    DELETE_SHARE,
    REGISTER_KEYS,
    PlannedCall,
    draw_calls,
    is_counter,
)
from ringmill.client.routing.directory import Directory
from ringmill.cluster.consensus.remains import Remains, combined
from ringmill.cluster.ids import KeyspaceId, PartitionId
from ringmill.node.assembly import Node
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.subjects.registers.ablations import REGISTER_ABLATIONS
from ringmill.simulator.subjects.registers.checkers import check_leases, check_registers
from ringmill.simulator.subjects.registers.contenders import contend
from ringmill.simulator.subjects.registers.faults import KINDS
from ringmill.simulator.subjects.registers.marks import REGISTER_MARKS
from ringmill.simulator.subjects.registers.removal_ablations import REMOVAL_ABLATIONS
from ringmill.simulator.subjects.registers.sessions import RegisterSession
from ringmill.simulator.subjects.registers.tunables import removes, timeouts_s, tuned
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.working_off import client_in, ended_with, insist_on, work_off
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["REGISTERS", "RegisterWorkload"]

_KEYSPACE: Final = KeyspaceId(1, 1)
_CALLS: Final = 60
_BUSY_CALLS: Final = 160
_BUSY_KEYS: Final = (b"count 0", b"set 0")
_BUSY: Final = 0.25  # share of the runs in which registers change faster than they can remember
_REMOVED_KEYS: Final = (b"count 0", b"set 0", b"set 0", b"set 1")
_REMOVED_DELETES: Final = 0.4
_LULL_S: Final = 2.5
_SESSIONS: Final = 4
_FLIGHT_S: Final = 6.0  # the longest a change may still be under way at its coordinator
_CORE, _LAST = "r-core", "r-last"
_CONTENDERS: Final = ("l0", "l1", "l2")
_HOLDINGS: Final = 4  # that each contender tries for


class RegisterWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        self._removes = removes(seed)
        is_busy = not self._removes and stream(seed, "registers/busy").random() < _BUSY
        self.plans = draw_calls(
            stream(seed, "registers"),
            _REMOVED_KEYS if self._removes else _BUSY_KEYS if is_busy else REGISTER_KEYS,
            calls=_BUSY_CALLS if is_busy else _CALLS,
            sessions=_SESSIONS,
            pause_s=0.02 if is_busy else 0.2,
            deletes=_REMOVED_DELETES if self._removes else DELETE_SHARE,
            lull_s=_LULL_S if self._removes else 0.0,
        )
        self._remains: dict[PartitionId, set[int]] = defaultdict(set)
        self._names = [f"r{number}" for number in range(_SESSIONS)]

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [f"{plan.index:4d}  {plan.session} {plan.kind} {plan.key.decode()}" for plan in self.plans]

    def join(self, world: World) -> None:
        self._world = world
        world.on_up.append(self._note_remains)
        world.ground.clients += [*self._names, *_CONTENDERS, _CORE, _LAST]

    def _note_remains(self, name: str, node: Node) -> None:
        """A node that begins to keep something of removed registers: they may count from there on."""
        kept = node.replica.remains
        add = kept.add

        async def noted(partition: PartitionId, remains: Remains) -> None:
            self._remains[partition].add(combined(kept.of(partition), remains).version)
            await add(partition, remains)

        kept.add = noted  # type: ignore[method-assign]

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [*(self._work(name) for name in self._names), *map(self._contend, _CONTENDERS)]

    def rests_on(self) -> Sequence[Collection[str]]:
        topology = self._world.topology
        return [topology.owners(topology.partition_of(_KEYSPACE, key)) for key in REGISTER_KEYS]

    async def progress(self) -> None:
        rest = self._world.history.core.rest
        core = [node.address for name, node in self._world.nodes.items() if name not in rest]
        plans = [
            PlannedCall(10_000 + at, _CORE, kind, key, 0.0, 1, by_version=False, deletes=False)
            for at, key in enumerate(REGISTER_KEYS)
            for kind in (("incr", "get") if is_counter(key) else ("get", "cas", "get"))
        ]
        await self._ask(_CORE, plans, 5.0, core, Within, is_of_core=True)

    async def wait_idle(self) -> None:
        await asyncio.sleep(_FLIGHT_S)
        for process in [node for node in self._world.living() if node.disk.is_rotten]:
            await self._world.heal_damage(process)

    async def read_final_state(self) -> None:
        plans = [
            PlannedCall(20_000 + at, _LAST, "get", key, 0.0, 0, by_version=False, deletes=False)
            for at, key in enumerate(REGISTER_KEYS)
        ]
        process, session = self._session(_LAST, 5.0, list(self._world.addresses), Directory)
        calls = self._world.history.registers
        await insist_on(self._world, process, session, plans, calls, lambda call: call.outcome == "ok")

    def unrest(self) -> list[Violation]:
        last_error = f"; {last}" if (last := ended_with(self._world.history.registers, _LAST)) else ""
        damaged = [
            node.name
            for node in self._world.living()
            if node.node and node.node.replica.engine.corrupt_ranges()
        ]
        return [
            Violation("C2", b"", f"not at rest long after healing; damaged: {damaged or 'none'}{last_error}")
        ]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        partition_of = self._world.topology.partition_of
        removed = {key: self._remains[partition_of(_KEYSPACE, key)] for key in REGISTER_KEYS}
        return [*check_registers(history.registers, removed), *check_leases(history.holdings)]

    def figures(self, history: History) -> Figures:
        calls = Counter(f"{call.kind} {call.outcome}" for call in history.registers)
        removed = sum(node.node.replica.registers.removed for node in self._world.nodes.values() if node.node)
        return {**calls, "leases held": len(history.holdings), "copies removed": removed}

    async def _work(self, name: str) -> None:
        timeout_s = stream(self._seed, f"client/{name}").choice(timeouts_s(self._seed))
        plans = [plan for plan in self.plans if plan.session == name]
        addresses = list(self._world.addresses)
        own = self._names.index(name)
        if self._removes and own < len(addresses) == self._world.options.n:
            # A message that is late is so on one way, and what overtakes it comes by another coordinator.
            await self._ask(name, plans, timeout_s, addresses[own : own + 1], Within)
        else:
            await self._ask(name, plans, timeout_s, addresses, Directory)

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
        calls = self._world.history.registers
        await work_off(self._world, process, session, plans, calls, is_of_core=is_of_core)

    async def _contend(self, name: str) -> None:
        process, session = self._session(name, 1.0, list(self._world.addresses), Directory)
        draws, holdings = stream(self._seed, f"lease/{name}"), self._world.history.holdings

        async def work() -> None:
            async with session:
                await contend(session, _HOLDINGS, draws, holdings)

        await self._world.loop.spawn(process, work())

    def _session(
        self, name: str, timeout_s: float, addresses: Sequence[str], directory: type[Directory]
    ) -> tuple[Process, RegisterSession]:
        clock = SimulatedClock(self._world.loop)
        return client_in(
            self._world, RegisterSession, name, self._seed, timeout_s, addresses, directory, clock=clock
        )


def _describe(figures: Figures) -> str:
    ends = ", ".join(f"{count:,} {name}" for name, count in sorted(figures.items()))
    return f"{sum(figures.values()):,} calls of registers ({ends or 'none'})"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"registers": dict(sorted(figures.items()))}


REGISTERS: Final = Subject(
    name="registers",
    title="Registers",
    draw=RegisterWorkload,
    describe=_describe,
    fields=_fields,
    ablations=(*REGISTER_ABLATIONS, *REMOVAL_ABLATIONS),
    marks=REGISTER_MARKS,
    faults=KINDS,
    tuned=tuned,
)
