"""The task side of task_messages.py: carries out a request and answers it.

Pure except for the FileSystem passed in.  The caller owns the process (its pipe, its limits, the source of
its modules): node/task_main.py in production, the simulator in simulated clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

from ringmill.cluster.errors import RingmillError, to_wire
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.commit.job_steps import plan_job, plan_stage, publish_output, withdraw_output
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.splits import SPLIT_SIZES, Split, SplitSizes
from ringmill.cluster.mapreduce.kernel.last_round import is_last_round
from ringmill.cluster.mapreduce.kernel.task import (
    MapAttempt,
    ReduceAttempt,
    run_map,
    run_reduce,
)
from ringmill.cluster.mapreduce.messages.task_messages import (
    JobStep,
    LeaveOff,
    RunAttempt,
    RunStint,
    Said,
    decode_request,
)
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.progress import Progress
from ringmill.cluster.ports import FileSystem

__all__ = ["Load", "NeedsAnotherProcess", "answers", "do_job_step", "run_attempt"]

Load: TypeAlias = Callable[[str, str, str], JobDefinition]
"""Bundle path, module and name to the job, as task.job_from_bundle does it."""


_spec_of: Final = lru_cache(maxsize=2)(JobSpec.decode)
"""Attempts that share a process are those of one job, or of one that runs the same code."""


class NeedsAnotherProcess(Exception):
    """This one is contained already, and may not reach what the attempt needs."""


def answers(
    message: bytes,
    run: Callable[[RunAttempt], tuple[MapOutput | ReduceOutput, AttemptFigures]],
    step: Callable[[JobStep], list[Any]],
    goes_on: Callable[[RunStint], bool],
) -> Iterator[Said]:
    """The answers to a request; those to a stint come one by one.  A process ends after any but "done" and
    "rest".

    `goes_on` is called after each attempt of a stint, before its answer.
    """
    request = decode_request(message)
    if isinstance(request, LeaveOff):  # of a stint that was over
        return
    if isinstance(request, JobStep):
        yield _answer(lambda: step(request))
        return
    if isinstance(request, RunAttempt):
        yield _answer(partial(_ran, request, run))
        return
    for number, each in enumerate(request.runs, start=1):
        said = _answer(partial(_ran, each, run))
        is_to_go_on = said.kind == "done" and goes_on(request)
        yield said
        if not is_to_go_on:
            if said.kind == "done" and number < len(request.runs):
                yield Said("rest", None)
            return


def _ran(
    request: RunAttempt, run: Callable[[RunAttempt], tuple[MapOutput | ReduceOutput, AttemptFigures]]
) -> list[Any]:
    output, figures = run(request)
    return [output.to_wire(), figures.to_wire()]


def _answer(work: Callable[[], list[Any]]) -> Said:
    try:
        return Said("done", work())
    except NeedsAnotherProcess:
        return Said("other", None)
    except TaskFailed as failure:
        return Said("failed", failure.to_wire())
    except RingmillError as error:
        return Said("refused", to_wire(error))


def do_job_step(step: JobStep, files: FileSystem, load: Load, sizes: SplitSizes = SPLIT_SIZES) -> list[Any]:
    """Plan or publish, or ask the job's code.  Raises RingmillError; TaskFailed of the job's code."""
    spec = JobSpec.decode(step.spec)
    if step.what == "until":
        number, counters = step.parts
        job = load(step.bundle, spec.module, spec.name)
        return [is_last_round(job, spec, number, counters, files)]
    if step.what == "plan":
        return plan_job(spec, files, sizes).to_wire()
    if step.what == "stage":
        return plan_stage(spec, files, sizes, former="".join(step.parts)).to_wire()
    parts = [StagedPart(*row) for row in step.parts]
    if step.what == "withdraw":
        withdraw_output(spec, parts, files)
    else:
        publish_output(spec, parts, files, again=step.again)
    return []


def run_attempt(
    run: RunAttempt, files: FileSystem, load: Load, progress: Progress
) -> tuple[MapOutput | ReduceOutput, AttemptFigures]:
    """One attempt, and what it took.

    Raises TaskFailed, and RingmillError when what is asked for is not in the bundle.
    """
    spec = _spec_of(run.spec)
    job = load(run.bundle, spec.module, spec.name)
    if run.stage == "map":
        task = MapAttempt(spec, Split.from_wire(run.split), run.task, run.attempt)
        return run_map(job, task, files, run.folder, progress), progress.figures()
    factor = run.memory_factor
    reduce_task = ReduceAttempt(spec, run.task, run.slices, run.attempt, memory_factor=factor)
    return run_reduce(job, reduce_task, files, run.folder, progress), progress.figures()
