"""Keys and values: sessions that put, get and delete under faults, and what owners hold in the end."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Mapping, Sequence
from random import Random
from typing import Any, Final

from ringmill.client.routing.directory import Directory
from ringmill.client.session_memory import SessionMemory
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.objects.ablations.every import OBJECT_ABLATIONS
from ringmill.simulator.subjects.objects.checkers.every import check_all
from ringmill.simulator.subjects.objects.checkers.staleness import staleness_s
from ringmill.simulator.subjects.objects.marks import OBJECT_MARKS
from ringmill.simulator.subjects.objects.mix import draw_twists, mix_of
from ringmill.simulator.subjects.objects.progress import CORE_CLIENTS, ask_core
from ringmill.simulator.subjects.objects.rest import Rest
from ringmill.simulator.subjects.objects.sessions import AnyNode, Session, SimulatedLink
from ringmill.simulator.subjects.objects.workload import (
    PlannedOperation,
    draw_workload,
    with_touches,
    with_ttl,
)
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.transport import SimulatedTransport
from ringmill.simulator.world.virtual_loop import Process
from ringmill.simulator.world.world import World

__all__ = ["OBJECTS", "ObjectWorkload"]

_OF_EACH: Final = (*CORE_CLIENTS, "beside", "last")
_MANY: Final = 8  # times as many keys, in some runs
_MANY_CHANCE: Final = 1 / 8
_MIX: Final = "mix "
_ONE_PROCESS: Final = 0.5  # of the runs have one process of clients
_BALANCED: Final = 0.1  # of the clients have no say in whom they ask


class ObjectWorkload:
    """A Workload (simulator/subjects/subject.py).  Subjects that are like it have other `tag`s."""

    tag = ""  # before the names of processes that every such subject has

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        drawn = draw_twists(stream(seed, "workload/mix"))
        self._twists = drawn if options.mix is None else options.mix
        plans = self._draw(options)
        kept = options.only_operations
        self.plans = plans if kept is None else [plan for plan in plans if plan.index in kept]
        self._names = self._names_of(options)
        self._is_one_process = stream(seed, "sessions/processes").random() < _ONE_PROCESS
        self._hosts: dict[str, tuple[Process, SimulatedTransport]] = {}

    def _draw(self, options: SimulationOptions) -> list[PlannedOperation]:
        seed = self._seed
        plans = draw_workload(
            stream(seed, "workload"),
            operations=options.operations,
            sessions=options.sessions,
            keys=options.keys * (_MANY if stream(seed, "workload/many keys").random() < _MANY_CHANCE else 1),
            mix=mix_of(self._twists),
        )
        return with_touches(stream(seed, "workload/touch"), with_ttl(stream(seed, "workload/ttl"), plans))

    def _names_of(self, options: SimulationOptions) -> list[str]:
        return [f"s{number}" for number in range(options.sessions)]

    @property
    def pieces(self) -> Sequence[int]:
        return [plan.index for plan in self.plans]

    def plan(self) -> list[str]:
        return [
            f"{plan.index:4d}  {plan.session} {plan.kind} {plan.key.decode()} context {plan.context} "
            f"level {plan.level or 'default'} durability {plan.durability or 'sync'}"
            for plan in self.plans
        ]

    def join(self, world: World) -> None:
        self._world = world
        world.ground.clients += [*self._names, *(f"{self.tag}{name}" for name in _OF_EACH)]
        self._keys = sorted({plan.key for plan in self.plans})
        self._rest = Rest(world, self._keys, self._client)

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        drawn = stream(self._seed, "sessions")
        return [self._session(name, drawn) for name in self._names]

    def rests_on(self) -> Sequence[Collection[str]]:
        return [self._world.row(key).nodes for key in self._keys]

    async def progress(self) -> None:
        await ask_core(self._world, self._keys, stream(self._seed, "core/clients"), self._client_of)

    async def wait_idle(self) -> None:
        await self._rest.wait_idle()

    async def read_final_state(self) -> None:
        await self._rest.read_final_state()

    def unrest(self) -> list[Violation]:
        quiet_s = self._world.options.quiet_s
        return [Violation("C2", b"", f"{self._rest.unrest()} {quiet_s:.0f} s after healing")]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        return check_all(history)

    def figures(self, history: History) -> Figures:
        return {
            "ops": len(history.operations),
            "answered": sum(operation.is_ok for operation in history.operations),
            "stale": len(staleness_s(history)),
            **{f"{_MIX}{name}": 1 for name in self._twists},
        }

    async def _session(self, name: str, drawn: Random) -> None:
        process, session = self._client(name, drawn.choice((0.3, 1.0, 5.0)))
        plans = [plan for plan in self.plans if plan.session == name]

        async def work() -> None:
            async with session:
                await session.work_off(plans, self._world.history.operations)

        await self._world.loop.spawn(process, work())

    def _client(self, name: str, timeout_s: float) -> tuple[Process, Session]:
        is_balanced = stream(self._seed, f"client/{name}/balancer").random() < _BALANCED
        directory = AnyNode if is_balanced else Directory
        return self._client_of(name, timeout_s, list(self._world.addresses), directory)

    def _client_of(
        self, name: str, timeout_s: float, addresses: Sequence[str], directory: type[Directory]
    ) -> tuple[Process, Session]:
        process, transport = self._process_of(name)
        nodes = self._world.addresses
        session = Session(
            name,
            addresses=addresses,
            directory=directory,
            dial=lambda address: SimulatedLink(transport, nodes[address]),
            entropy=SeededEntropy(self._seed, f"client/{name}"),
            timeout_s=timeout_s,
            memory=self._memory_of(name),
        )
        return process, session

    def _memory_of(self, name: str) -> SessionMemory | None:
        """What a session has seen before; None for one that keeps nothing of it."""
        return None

    def _process_of(self, name: str) -> tuple[Process, SimulatedTransport]:
        """The sessions of some runs are one process, so that its frames carry several of their calls."""
        host = self._names[0] if self._is_one_process and name in self._names else name
        host = f"{self.tag}{host}" if host in _OF_EACH else host
        if host not in self._hosts:
            self._hosts[host] = self._world.client(host)
        return self._hosts[host]


def _describe(figures: Figures) -> str:
    stale = f", {figures['stale']:,} weak reads stale" if figures["stale"] else ""
    mixes = ", ".join(
        f"{name.removeprefix(_MIX)} {runs}" for name, runs in figures.items() if name.startswith(_MIX)
    )
    twisted = f", mixed {mixes}" if mixes else ""
    return f"{figures['ops']:,} operations ({figures['answered']:,} answered{stale}{twisted})"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return dict(figures)


OBJECTS: Final = Subject(
    name="objects",
    title="Keys and values",
    draw=ObjectWorkload,
    describe=_describe,
    fields=_fields,
    ablations=OBJECT_ABLATIONS,
    marks=OBJECT_MARKS,
)
