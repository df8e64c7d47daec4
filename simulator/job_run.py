"""One simulated run of jobs: a pair (seed, options) in, a verdict by C9 out.

The same pair gives the same run.  Beside simulator/run.py, whose clients read and write keys.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ringmill.simulator.ablations import switched_off
from ringmill.simulator.checkers.jobs import check_jobs
from ringmill.simulator.checkers.violation import Violation
from ringmill.simulator.jobs.faults import draw_job_faults
from ringmill.simulator.jobs.history import JobHistory
from ringmill.simulator.jobs.options import JOB_OPTIONS
from ringmill.simulator.jobs.oracle import Expected, expected_of
from ringmill.simulator.jobs.sessions import JobWish
from ringmill.simulator.jobs.tunables import draw_job_tunables
from ringmill.simulator.jobs.world import JobWorld, draw_wishes, packed_job
from ringmill.simulator.options import RunOptions
from ringmill.simulator.run import found_bugs, quiet
from ringmill.simulator.seeds import stream
from ringmill.simulator.tunables import draw_tunables
from ringmill.simulator.verdict import Verdict
from ringmill.simulator.world import NotQuiet
from ringmill.simulator.world_loop import Stuck

__all__ = ["JOB_OPTIONS", "JobRunResult", "run_job_seed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRunResult(Verdict):
    """What came of a run of jobs."""

    history: JobHistory

    @property
    def ends(self) -> tuple[str, ...]:
        """The last word on each job."""
        return tuple(job.told[-1].state if job.told else "UNKNOWN" for job in self.history.jobs)


def run_job_seed(seed: int, options: RunOptions = JOB_OPTIONS, *, story: bool = False) -> JobRunResult:
    """Run one seed to its end, whatever comes of it."""
    drawn = draw_tunables(stream(seed, "tunables"))
    patience = draw_job_tunables(stream(seed, "jobs/tunables"))
    tunables = replace(drawn, profile="fast", node=patience.tuned(drawn.node))
    with quiet(), _collector_as_before():
        wishes = draw_wishes(stream(seed, "jobs"), packed_job().sha256)
        expected = expected_of(seed, wishes)
        with switched_off(options.safeguards_off):
            return _run(JobWorld(seed, options, tunables, story=story), seed, options, wishes, expected)


def _run(
    world: JobWorld, seed: int, options: RunOptions, wishes: Sequence[JobWish], expected: Expected
) -> JobRunResult:
    faults = draw_job_faults(seed, options.faults, list(world.nodes), options.load_s)
    if options.only_faults is not None:
        faults = [fault for at, fault in enumerate(faults) if at in options.only_faults]
    found: list[Violation] = []
    try:
        world.loop.run_until_complete(world.run_jobs(wishes, faults, expected))
    except (NotQuiet, Stuck, Exception) as error:  # noqa: BLE001 - whatever ends a run is what it shows
        found.append(Violation("run", b"", f"{type(error).__name__}: {error}"))
    world.close()
    found += found_bugs(world)
    result = JobRunResult(
        seed=seed,
        options=options,
        violations=(*found, *check_jobs(world.jobs)),
        virtual_s=world.loop.time(),
        steps=world.loop.steps,
        faults=dict(sorted(world.trace.faults.items())),
        trace=world.trace.digest(),
        story=tuple(world.trace.story()),
        history=world.jobs,
    )
    world.loop.drop_everything()
    return result


@contextmanager
def _collector_as_before() -> Iterator[None]:
    """Dropped tasks leave it as a kernel had set it."""
    thresholds = gc.get_threshold()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
