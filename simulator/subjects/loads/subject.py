"""Loads: a job that reads one keyspace and writes another, under faults, while a client overwrites what it
has put."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ringmill.client.routing.directory import Directory
from ringmill.node.node_options import CoordinatorOptions
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobRecord
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.jobs.sessions import JobSession
from ringmill.simulator.subjects.loads.ablations import LOAD_ABLATIONS
from ringmill.simulator.subjects.loads.checkers import check_load
from ringmill.simulator.subjects.loads.faults import KINDS
from ringmill.simulator.subjects.loads.marks import LOAD_MARKS
from ringmill.simulator.subjects.loads.sessions import LoadHistory, LoadSession
from ringmill.simulator.subjects.loads.workload import (
    SNAPSHOT_CHANCE,
    draw_load,
    load_keyspaces,
    packed_load,
)
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.subjects.working_off import client_in
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.world import World

__all__ = ["LOADS", "LoadWorkload"]

_FILL, _JOB, _OVER, _LATE, _LAST = "l-fill", "l-job", "l-over", "l-late", "l-last"
_PATIENT_S: Final = 60.0
_REST_S: Final = 0.25
_LOOK_S: Final = 120.0


class LoadWorkload:
    """A Workload (simulator/subjects/subject.py)."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        self._bundle = packed_load()
        reads_snapshot = stream(seed, "loads/snapshot").random() < SNAPSHOT_CHANCE
        self._plan = draw_load(stream(seed, "loads"), self._bundle.sha256, reads_snapshot=reads_snapshot)
        self._seen = LoadHistory()
        spec = self._plan.job.spec
        self._record = JobRecord(spec.job, spec.output)

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [
            *(f"put {key!r} {value!r}" for key, value in self._plan.source.items()),
            *(f"put {key!r} {value!r} once the job is accepted" for key, value in self._plan.late.items()),
            f"{self._plan.job.spec.job}, and writes over {', '.join(map(repr, sorted(self._plan.taken)))}",
        ]

    def join(self, world: World) -> None:
        self._world = world
        world.ground.clients += [_FILL, _JOB, _OVER, _LATE, _LAST]

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._have_it_run()]

    def rests_on(self) -> Sequence[Collection[str]]:
        """No keys."""
        return ()

    async def progress(self) -> None:
        """Nothing is asked of a core: it lacks owners of some partitions."""

    async def wait_idle(self) -> None:
        """The job is over.  It needs an owner of each key that coordinates writes, and a node whose clock has
        jumped does not (V6): somebody sets the clocks right, as the other owners may be lost."""
        self._world.ground.set_clocks(self._world.living())
        while self._still_running():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_REST_S)
        for process in [node for node in self._world.living() if node.disk.is_rotten]:
            await self._world.heal_damage(process)

    async def read_final_state(self) -> None:
        if self._record.is_accepted:
            process, transport = self._world.client(_LAST)
            entropy = SeededEntropy(self._seed, f"client/{_LAST}/job")
            session = JobSession(transport, self._world.addresses, entropy, 5.0)
            await self._world.loop.spawn(process, session.look_up(self._record, _LOOK_S))
        await self._ask(
            _LAST, lambda client: client.read({*self._plan.records, *self._plan.former}, self._seen, _LOOK_S)
        )

    def unrest(self) -> list[Violation]:
        return [
            Violation("C9", story.encode(), "still not over long after everything was healed")
            for story in self._still_running()
        ]

    def close(self) -> None:
        """Nothing is left to be noted."""

    def check(self, history: History) -> list[Violation]:
        return list(check_load(self._plan, self._record, self._seen, history))

    def figures(self, history: History) -> Figures:
        ended = self._record.told[-1].state if self._record.told else "UNKNOWN"
        return Counter({ended: 1, "overwritten": len(self._seen.overwritten)})

    async def _have_it_run(self) -> None:
        """Fill the source, then submit the job and write over its records until it is over."""
        plan = self._plan
        await self._ask(_FILL, lambda client: client.fill(plan.source, plan.former, self._seen, _PATIENT_S))
        if not self._seen.is_filled:
            return
        pause_s = stream(self._seed, "loads/over").choice((0.005, 0.05, 0.5))
        over = asyncio.ensure_future(
            self._ask(_OVER, lambda client: client.overwrite(plan.taken, plan.former, self._seen, pause_s))
        )
        meddling = asyncio.ensure_future(
            self._ask(_LATE, lambda client: client.meddle(plan.late, lambda: self._record.is_accepted))
        )
        process, transport = self._world.client(_JOB)
        entropy = SeededEntropy(self._seed, f"client/{_JOB}")
        session = JobSession(transport, self._world.addresses, entropy, 2.0)
        work = session.work_off(self._plan.job, self._bundle, self._record)
        try:
            await self._world.loop.spawn(process, work)
        finally:
            over.cancel()
            meddling.cancel()
            for ended in await asyncio.gather(over, meddling, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended  # a bug of the client: they wait out all errors of nodes

    async def _ask(self, name: str, what: Any) -> None:
        timeout_s = 5.0 if name == _LAST else stream(self._seed, f"client/{name}").choice((1.0, 5.0))
        process, client = client_in(
            self._world, LoadSession, name, self._seed, timeout_s, list(self._world.addresses), Directory
        )

        async def work() -> None:
            async with client:
                await what(client)

        await self._world.loop.spawn(process, work())

    def _still_running(self) -> list[str]:
        return [
            f"{view.job} on {node.name}"
            for node in self._world.living()
            for view in (node.node.jobs.views() if node.node else [])
            if not view.is_over
        ]


def _describe(figures: Figures) -> str:
    ends = ", ".join(
        f"{count:,} {end}" for end, count in sorted(figures.items()) if count and end != "overwritten"
    )
    return f"jobs from keyspace to keyspace ({ends}), {figures.get('overwritten', 0):,} records overwritten"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"loads": dict(sorted(figures.items()))}


def _tuned(seed: int, tunables: Tunables) -> Tunables:
    """Members notice quickly who is down, and windows are small.  No job is forgotten beside others."""
    node = tunables.node
    window = stream(seed, "loads/tunables").choice((1, 2, 4))
    coordinator = replace(node.coordinator, load_window=window, kept_jobs=CoordinatorOptions().kept_jobs)
    return replace(tunables, profile="fast", node=replace(node, coordinator=coordinator))


LOADS: Final = Subject(
    name="loads",
    title="Jobs that load a keyspace",
    draw=LoadWorkload,
    describe=_describe,
    fields=_fields,
    ablations=LOAD_ABLATIONS,
    marks=LOAD_MARKS,
    faults=KINDS,
    keyspaces=load_keyspaces,
    tuned=_tuned,
)
