"""A series of runs on one cluster: a job, a fault on its way, requests beside it, and its output compared."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from chaos.jobs.comparing import differing, differing_counts, hidden_beside
from chaos.jobs.job_faults import JOB_FAULTS, LEFT_OUT, faults_of
from chaos.jobs.job_load import JobLoad
from chaos.jobs.job_nodes import JobNodes
from chaos.jobs.job_scene import JobScene
from chaos.jobs.job_shapes import JobShape
from inputs.job_inputs import JobInput, input_of
from report import machine
from ringmill.client.connection import AsyncClient, connect
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.run_local import run_local
from ringmill.client.local.local_state import LocalCluster, read_token
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.machine_name import own_cores
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.local.in_process import LocalResult

__all__ = ["JobRun", "JobSeries", "drawn_runs", "make_references"]

SMALL_MIB: Final = 64  # up to there splits have a mebibyte, so that few tasks are not the whole job
PATIENT_S: Final = 120.0
PATIENT_A_MIB_S: Final = 4.0
CLEARED_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.2
IDLE_RUNS: Final = 4  # whose fault came to nothing
NOT_RUN: Final = "it was not run"
Tell = Callable[[str], None]
References = Mapping[tuple[str, int], LocalResult]
"""What each job gives in one process, by name and size."""


@dataclass(slots=True)
class JobRun:
    """One job that is to be run, and what came of it.  `violation` is "" when all has held."""

    number: int
    shape: JobShape
    mib: int
    fault: str
    struck: str = ""  # what the fault did; "" when it came to nothing
    seconds: float = 0.0
    retried: int = 0
    causes: dict[str, int] = field(default_factory=dict)  # of failed attempts
    coordinators: list[str] = field(default_factory=list)
    violation: str = NOT_RUN

    @property
    def asked_for(self) -> tuple[str, int]:
        """The job by its name, and the size of its input in MiB."""
        return self.shape.name, self.mib

    @property
    def was_felt(self) -> bool:
        """Whether the job had to do something about its fault."""
        return bool(self.retried or self.causes or len(self.coordinators) > 1)

    @property
    def split_mib(self) -> int | None:
        return 1 if self.mib <= SMALL_MIB and self.shape.job != "pagerank" else None  # a chain has none

    def line(self, of: int) -> str:
        causes = ", ".join(f"{name} {count}" for name, count in self.causes.items())
        told = self.violation or f"equal{f'; {causes}' if causes else ''}"
        return (
            f"{self.number:>4} of {of} {self.shape.name:<18} {self.mib:>4} MiB {self.fault:<21} "
            f"{self.struck or 'came to nothing':<34} {self.seconds:>6.1f} s {self.retried:>3} retried  {told}"
        )


def drawn_runs(
    seed: int, runs: int, shapes: Sequence[JobShape], sizes_mib: Sequence[int], faults: Sequence[str]
) -> list[JobRun]:
    """Jobs and faults dealt from shuffled packs, so that each comes about equally often; sizes at random.

    A fault that cannot befall a job waits for the next one.
    """
    chance, drawn = random.Random(seed), list[JobRun]()
    jobs, kinds = list[JobShape](), list[str]()
    for number in range(1, runs + 1):
        jobs = jobs or chance.sample(shapes, len(shapes))
        shape = jobs.pop()
        possible = faults_of(shape, faults)
        if not possible:
            raise ValueError(f"none of the faults {', '.join(faults)} can befall {shape.name}")
        while not (fitting := faults_of(shape, kinds)):
            kinds = chance.sample(faults, len(faults)) + kinds
        kinds.remove(fitting[-1])
        drawn.append(JobRun(number, shape, chance.choice(sizes_mib), fitting[-1]))
    return drawn


def make_references(runs: Sequence[JobRun], folder: Path, tell: Tell) -> References:
    """Make the inputs, and run each job here; no loop may run yet, as tasks are forked from this process."""
    wanted, made = {run.asked_for: run for run in runs}, dict[tuple[str, int], LocalResult]()
    cores = own_cores()
    for number, ((name, mib), run) in enumerate(sorted(wanted.items()), 1):
        given, began = input_of(name, mib), time.monotonic()
        with closing(OsFileSystem()) as files:
            definition = load_job_module(run.shape.target, files, str(folder)).definition
        made[name, mib] = run_local(
            definition, given.given, f"{folder}/{name}-{mib}",
            reducers=run.shape.reducers, split_mib=run.split_mib, processes=cores,
        )  # fmt: skip
        took_s = time.monotonic() - began
        tell(f"{number:>4} of {len(wanted)} {name:<18} {mib:>4} MiB by run_local: {took_s:.1f} s")
    return made


def idle_faults(runs: Sequence[JobRun]) -> list[str]:
    """Of the runs that were run: kinds of faults that came to nothing each time, so that nothing was tried.

    A job may be over before its fault once or twice.  After that what the fault looks for is probably not
    seen any more.
    """
    run = [each for each in runs if each.violation != NOT_RUN]
    drawn, struck = Counter(each.fault for each in run), Counter(each.fault for each in run if each.struck)
    if not struck:
        return [f"no fault has struck in {len(run)} runs"] if len(run) >= IDLE_RUNS else []
    return [
        f"{kind} came to nothing in {times} runs of {times}"
        for kind, times in sorted(drawn.items())
        if times >= IDLE_RUNS and not struck[kind]
    ]


class JobSeries:
    """`go` does all of it.  `references` are what the jobs have to give."""

    def __init__(
        self, cluster: LocalCluster, seed: int, runs: Sequence[JobRun], references: References, tell: Tell
    ) -> None:
        self.nodes = JobNodes(cluster)
        self.runs = runs
        self._seed = seed
        self._references = references
        self._tell = tell
        self._home = Path(cluster.folder).parent
        self._load = JobLoad(seed)
        self._began = time.time()
        self._lasted_s = 0.0
        self.troubles: list[str] = []

    async def go(self) -> None:
        """All runs; a series whose cluster is no more ends early, which is a trouble."""
        began = time.monotonic()
        token = read_token(self.nodes.cluster.folder)
        async with (
            connect(self.nodes.addresses, token=token) as db,
            connect(self.nodes.addresses, token=token) as beside,
        ):
            await self._load.begin(beside)
            try:
                for run in self.runs:
                    await self._run(db, run)
                    self._tell(run.line(len(self.runs)))
            except (RingmillError, TimeoutError) as error:
                self.troubles.append(f"the series broke off: {type(error).__name__}: {error}")
            await self._load.end(beside, is_sound=not self.troubles)
        self.troubles += [f"{each.checker}: {text}" for each in self._load.judged() for text in each.breaches]
        self.troubles += [f"not read in the end: {text}" for text in self._load.unread]
        self.troubles += idle_faults(self.runs)
        if tracebacks := self.nodes.tracebacks():
            self.troubles.append(f"{tracebacks} tracebacks in the logs of the nodes")
        self._lasted_s = time.monotonic() - began

    async def _run(self, db: AsyncClient, run: JobRun) -> None:
        given, output = input_of(run.shape.name, run.mib), self._home / f"out-{run.number}"
        patient_s, began = PATIENT_S + PATIENT_A_MIB_S * run.mib, time.monotonic()
        try:
            async with asyncio.timeout(patient_s):
                state = await self._disturbed(db, run, given, output)
            run.violation = _failure(state) or self._difference(run, state, output)
            run.retried = state.retried
            for each in state.failures:
                run.causes[each.cause] = run.causes.get(each.cause, 0) + each.count
        except TimeoutError:
            run.violation = f"it was not over after {patient_s:.0f} s"
        except RingmillError as error:
            run.violation = f"{type(error).__name__}: {error}"
        run.seconds = time.monotonic() - began
        await self.nodes.restored()
        run.violation = run.violation or await _left_beside(output)
        if not run.violation:
            shutil.rmtree(output)

    def _difference(self, run: JobRun, state: JobState, output: Path) -> str:
        reference = self._references[run.asked_for]
        return differing(Path(reference.output), output) or differing_counts(
            reference, state.records, state.counters
        )

    async def _disturbed(self, db: AsyncClient, run: JobRun, given: JobInput, output: Path) -> JobState:
        """The last state of a job; its fault is over, too."""
        job = await db.jobs.submit(
            run.shape.target, input=given.given, output=str(output),
            reducers=run.shape.reducers, split_mib=run.split_mib,
        )  # fmt: skip
        folders = sorted({str(path.parent) for path in given.files})
        chance = random.Random(f"{self._seed}/{run.number}")
        scene = JobScene(self.nodes, job, output, folders, chance)

        async def struck() -> None:
            run.struck = await JOB_FAULTS[run.fault].strike(scene)

        striking = asyncio.create_task(struck())
        try:
            async for scene.state in db.jobs.watch(job):
                if scene.coordinator and scene.coordinator not in run.coordinators[-1:]:
                    run.coordinators.append(scene.coordinator)
        finally:
            scene.is_over.set()
            await striking
        assert scene.state is not None
        return scene.state

    @property
    def has_held(self) -> bool:
        return not self.troubles and all(not run.violation for run in self.runs)

    def document(self) -> dict[str, Any]:
        """All of it as JSON values."""
        fired, felt = (
            Counter(run.fault for run in self.runs if run.struck and (run.was_felt or not is_felt))
            for is_felt in (False, True)
        )
        kinds = sorted({run.fault for run in self.runs})
        return {
            "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(self._began)),
            "seconds": round(self._lasted_s, 1),
            "machine": machine(),
            "load_1_min": round(os.getloadavg()[0], 1),
            "seed": self._seed,
            "nodes": len(self.nodes.names),
            "runs": len(self.runs),
            "equal": sum(not run.violation for run in self.runs),
            "faults": {
                kind: {
                    "drawn": sum(run.fault == kind for run in self.runs),
                    "fired": fired[kind],
                    "felt": felt[kind],
                }
                for kind in kinds
            },
            "never_fired": [kind for kind in kinds if not fired[kind]],
            "left_out": LEFT_OUT,
            "load": {each.checker: each.looked_at for each in self._load.judged()},
            "requests": self._load.tally.requests,
            "troubles": self.troubles,
            "verdict": "ok" if self.has_held else "violation",
            "jobs": [{**asdict(run), "shape": run.shape.name} for run in self.runs],
        }


async def _left_beside(output: Path) -> str:
    """What is left of a job that is over, though all nodes are back; "" once nothing is."""
    ends_at = time.monotonic() + CLEARED_WITHIN_S
    while (left := hidden_beside(output)) and time.monotonic() < ends_at:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(LOOK_EVERY_S)
    return f"left beside its output: {', '.join(path.name for path in left)}" if left else ""


def _failure(state: JobState) -> str:
    return "" if state.state == "SUCCEEDED" else f"{state.state}: {state.error}"
