"""MapReduce jobs: clients that submit, watch and kill them, and a reader of what they show."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ringmill.client.jobs.job_values import job_state
from ringmill.node.services.jobs_service import job_status
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.history import History
from ringmill.simulator.job_history import JobRecord
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.subjects.jobs.ablations import JOB_ABLATIONS
from ringmill.simulator.subjects.jobs.chained import with_chains, with_states
from ringmill.simulator.subjects.jobs.checkers import check_jobs
from ringmill.simulator.subjects.jobs.faults import KINDS
from ringmill.simulator.subjects.jobs.forgetting.forgotten_jobs import FURTHER_CLIENT, forget_jobs
from ringmill.simulator.subjects.jobs.marks import JOB_MARKS
from ringmill.simulator.subjects.jobs.oracle import expected_of, has_many_maps, write_input
from ringmill.simulator.subjects.jobs.outputs import Reader
from ringmill.simulator.subjects.jobs.progress import CORE_CLIENT, ask_core, can_be_asked, plan_of_core
from ringmill.simulator.subjects.jobs.sessions import JobSession, PlannedJob, report_of
from ringmill.simulator.subjects.jobs.tunables import KEPT_JOBS, draw_job_tunables, with_short_tasks
from ringmill.simulator.subjects.jobs.workload import draw_plans, packed_job, with_former_outputs, with_pauses
from ringmill.simulator.subjects.objects.sessions import Within
from ringmill.simulator.subjects.subject import Figures, Subject
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.world import World

__all__ = ["JOBS", "JobWorkload"]

_REST_S: Final = 0.25
_LAST_CLIENT: Final = "last-jobs"
_LAST_TIMEOUT_S: Final = 2.0
_LAST_LOOK_S: Final = 120.0
_ENDS: Final = ("SUCCEEDED", "FAILED", "KILLED", "RUNNING", "PENDING", "UNKNOWN")


class JobWorkload:
    """A Workload (simulator/subjects/subject.py).  The oracle has spoken when it is made."""

    def __init__(self, seed: int, options: SimulationOptions) -> None:
        self._seed = seed
        self._is_alone = options.subjects == ("jobs",)
        self._bundle = packed_job()
        self._plans = draw_plans(
            stream(seed, "jobs"),
            stream(seed, "jobs/twists"),
            stream(seed, "jobs/shapes"),
            self._bundle.sha256,
        )
        self._plans = with_chains(self._plans, stream(seed, "jobs/chains"))
        self._plans = with_states(self._plans, stream(seed, "jobs/states"))
        self._plans = with_pauses(self._plans, stream(seed, "jobs/pauses"))
        self._expected = expected_of(seed, self._plans)

    @property
    def pieces(self) -> Sequence[int]:
        return ()

    def plan(self) -> list[str]:
        return [
            f"{plan.spec.job} after {plan.pause_s:.3f} s into {plan.spec.output}"
            + (f", killed after {plan.kill_after_s:.3f} s" if plan.kill_after_s is not None else "")
            for plan in self._plans
        ]

    def join(self, world: World) -> None:
        self._world = world
        write_input(self._seed, world.shared)
        former = stream(self._seed, "jobs/former")
        self._plans = with_former_outputs(self._plans, former, world.shared)
        self._reader = Reader(world, self._expected.files)
        world.ground.clients += [*map(_client_of, self._plans), CORE_CLIENT, _LAST_CLIENT, FURTHER_CLIENT]
        jobs = world.history.jobs
        jobs.records, jobs.counters = self._expected.records, self._expected.counters
        specs = [plan.spec for plan in self._plans]
        jobs.jobs = [JobRecord(spec.job, spec.output, replaces=spec.overwrite) for spec in specs]

    def act(self) -> Sequence[Coroutine[Any, Any, None]]:
        records = self._world.history.jobs.jobs
        return [self._ask(plan, record) for plan, record in zip(self._plans, records, strict=True)]

    def rests_on(self) -> Sequence[Collection[str]]:
        """The registers of a job's journal lie in any partition, and need a majority of its owners (J12)."""
        return [row.nodes for row in self._world.topology.rows]

    async def progress(self) -> None:
        if not can_be_asked(self._world):
            return
        first, plan, jobs = (
            self._plans[0].spec.output,
            plan_of_core(self._plans[0]),
            self._world.history.jobs,
        )
        output = plan.spec.output
        self._reader.expect(output, self._expected.files[first])  # the same work has the same outcome
        jobs.records = {**jobs.records, output: self._expected.records[first]}
        jobs.counters = {**jobs.counters, output: self._expected.counters[first]}
        record = JobRecord(plan.spec.job, output)
        jobs.jobs.append(record)
        await ask_core(self._world, plan, self._bundle, record)

    async def wait_idle(self) -> None:
        """Every job that a node keeps ends.  Where each node that is left waits for another one's clock, as
        those that would agree with one of them are lost, somebody sets the clocks right (V6)."""
        living = self._world.living()
        if all(process.node and process.node.core.hybrid.jumped_ms for process in living):
            self._world.ground.set_clocks(living)
        for record in self._world.history.jobs.jobs:
            if record.is_paused:
                await self._ask_last(record, JobSession.let_go_on)
        while self._still_running():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(_REST_S)

    async def read_final_state(self) -> None:
        """The reader has seen everything.  Each job that was accepted has an end, which any node tells."""
        for record in self._world.history.jobs.jobs:
            if record.is_accepted:
                await self._ask_last(record, partial(JobSession.look_up, within_s=_LAST_LOOK_S))
        if self._world.tunables.node.coordinator.kept_jobs == KEPT_JOBS:
            draws = stream(self._seed, "jobs/forgetting")
            await forget_jobs(self._world, self._plans[0], self._bundle, draws, may_stop=self._is_alone)

    async def _ask_last(
        self, record: JobRecord, ask: Callable[[JobSession, JobRecord], Coroutine[Any, Any, None]]
    ) -> None:
        """A question of one more client, to nodes that are not left broken."""
        process, transport = self._world.client(_LAST_CLIENT)
        rest = self._world.history.core.rest
        asked = {at: node for at, node in self._world.addresses.items() if node not in rest}
        entropy = SeededEntropy(self._seed, f"client/{_LAST_CLIENT}/{record.job}")
        session = JobSession(transport, asked, entropy, _LAST_TIMEOUT_S, directory=Within)
        await self._world.loop.spawn(process, ask(session, record))

    def unrest(self) -> list[Violation]:
        return [
            Violation("C9", story.encode(), "still not over long after everything was healed")
            for story in self._still_running()
        ]

    def close(self) -> None:
        """Note how each job ended by the word of the nodes that keep it, and look at the outputs again."""
        records = {record.job: record for record in self._world.history.jobs.jobs}
        for node in self._world.nodes.values():
            for view in node.node.jobs.views() if node.node else []:
                if (record := records.get(view.job)) is None:
                    continue  # another subject's
                record.told.append(report_of(self._world.loop.time(), job_state(job_status(view))))
                record.tries = max([record.tries, *(task.attempts for task in view.summary.tasks)])
        self._reader.look_at_all()

    def check(self, history: History) -> list[Violation]:
        return list(check_jobs(history))

    def figures(self, history: History) -> Figures:
        return Counter(job.told[-1].state if job.told else "UNKNOWN" for job in history.jobs.jobs)

    async def _ask(self, plan: PlannedJob, record: JobRecord) -> None:
        name = _client_of(plan)
        process, transport = self._world.client(name)
        timeout_s = stream(self._seed, f"client/{name}").choice((0.5, 2.0, 10.0))
        entropy = SeededEntropy(self._seed, f"client/{name}")
        session = JobSession(transport, self._world.addresses, entropy, timeout_s)
        await self._world.loop.spawn(process, session.work_off(plan, self._bundle, record))

    def _still_running(self) -> list[str]:
        return [
            f"{view.job} on {node.name}"
            for node in self._world.living()  # a job that a lost node coordinates ends with it
            for view in (node.node.jobs.views() if node.node else [])
            if not view.is_over
        ]


def _client_of(plan: PlannedJob) -> str:
    return f"j{plan.index}"


def _describe(figures: Figures) -> str:
    ends = ", ".join(f"{figures[end]:,} {end}" for end in _ENDS if figures.get(end))
    return f"{sum(figures.values()):,} jobs ({ends or 'none'})"


def _fields(figures: Figures) -> Mapping[str, Any]:
    return {"jobs": dict(sorted(figures.items()))}


def _tuned(seed: int, tunables: Tunables) -> Tunables:
    """Nodes notice quickly who is down; in some runs the two sides of a job have little patience."""
    patience = draw_job_tunables(stream(seed, "jobs/tunables"))
    node = patience.tuned(tunables.node)
    return replace(tunables, profile="fast", node=with_short_tasks(node) if has_many_maps(seed) else node)


JOBS: Final = Subject(
    name="jobs",
    title="Jobs",
    draw=JobWorkload,
    describe=_describe,
    fields=_fields,
    ablations=JOB_ABLATIONS,
    marks=JOB_MARKS,
    faults=KINDS,
    tuned=_tuned,
)
