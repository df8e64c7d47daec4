"""Runs the steps of a job in a task process, so that the node's loop never waits for files.

Each step gets a new process, which ends after its answer; the one that asks whether a round of an iteration
was the last runs the job's code, the others run none of it.  A node that cannot run the
step raises Unavailable; for planning with outcome "failed", so that another node may accept the job.  A
publication that ended without an answer has the outcome "unknown"; one that could not begin, "failed".

Publishing and the planning of later stages have the time that they need, as long as their process tells that
it gets on.  The first plan of a job has ten minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ringmill.cluster.errors import RingmillError, Unavailable, from_wire
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, last_printed
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.messages.reach import TaskContainment
from ringmill.cluster.mapreduce.messages.task_messages import JobStep, Said
from ringmill.cluster.ports import TaskProcess, TaskStarter
from ringmill.node.node_options import STORE_SETTINGS, TASK_ENVIRONMENT, TASK_LIMITS, family_limits

__all__ = ["JobStepRunner"]

_PLAN_TIMEOUT_S: Final = 60.0  # without progress: it looks at each input file, of which there may be 100,000
_LONGEST_PLAN_S: Final = 600.0  # also with progress: it has one of few places, and others wait for it
_PUBLISH_TIMEOUT_S: Final = 600.0  # the same: it moves every part of the output, perhaps to a slow store,
_STORED_BYTES_PER_S: Final = 50e6  # which may take long to close a large one
_WITHDRAW_TIMEOUT_S: Final = 30.0  # a user waits for the word that the job has failed,
_REMOVED_WITHIN_S: Final = 0.1  # and each part takes a request to the store
_UNTIL_TIMEOUT_S: Final = 600.0  # it may read all records of a round
_TRIES: Final = 3  # a process that is killed once was unlucky, one that is killed three times is too large
_PAUSE_S: Final = 0.1
_LAST_WORDS_S: Final = 5.0
_END_TIMEOUT_S: Final = 1.0
_TELLING: Final = ("plan", "stage", "publish")  # they end when they are silent for too long
_LIMITS: Final = {"as_bytes": TASK_LIMITS["family_bytes"]}  # a plan holds every split in memory


@dataclass(frozen=True, slots=True)
class JobStepRunner:
    """Of these steps only that which runs the job's code is contained, and has the limits of an attempt."""

    spawner: TaskStarter
    containment: TaskContainment = field(default_factory=TaskContainment)
    limits: Mapping[str, int] = field(default_factory=lambda: TASK_LIMITS)
    within: Callable[[float], float] = lambda most_s: most_s  # what is left of a stop (rule T10)

    async def plan(self, spec: JobSpec) -> InputPlan:
        """Like job_steps.plan_job (ringmill.cluster.mapreduce.commit)."""
        self.containment.refuse_secrets(spec)
        step = JobStep("plan", spec.encode(), secrets=self._secrets())
        try:
            async with asyncio.timeout(_LONGEST_PLAN_S):
                return InputPlan.from_wire(await self._have_done(step, _PLAN_TIMEOUT_S))
        except TimeoutError as error:
            text = f"plan of the job took longer than {_LONGEST_PLAN_S:g} s"
            raise RingmillError(text, hint="name fewer files, put together, or run several jobs") from error

    async def plan_stage(self, spec: JobSpec, former: str | None) -> InputPlan:
        """Like job_steps.plan_stage (ringmill.cluster.mapreduce.commit)."""
        parts = (former,) if former else ()
        step = JobStep("stage", spec.encode(), parts, secrets=self._secrets())
        return InputPlan.from_wire(await self._have_done(step, _PLAN_TIMEOUT_S))

    def _secrets(self) -> tuple[str, ...]:
        return self.containment.secrets if self.containment.is_on else ()

    async def is_last_round(
        self, stage: JobSpec, bundle: str, number: int, counters: Mapping[str, int]
    ) -> bool:
        """The word of the job's code on a round of an iteration, from a process that nothing else uses.

        Raises JobFailed when the code fails.
        """
        reach = self.containment.reach_of(stage, bundle)
        step = JobStep(
            "until", stage.encode(), (number, dict(counters)), bundle=bundle,
            reach=reach.to_wire() if reach else (),
        )  # fmt: skip
        limits = family_limits(self.limits, stage.task_memory_mib)
        try:
            answer = await self._have_done(step, _UNTIL_TIMEOUT_S, limits)
        except TaskFailed as failure:
            raise failure.as_job_error("until", 1) from failure
        return answer in ((True,), [True])

    async def publish(self, spec: JobSpec, parts: Sequence[StagedPart], *, again: bool = False) -> None:
        """Like job_steps.publish_output (ringmill.cluster.mapreduce.commit)."""
        rows = _rows(parts)
        largest = max((part.size for part in parts), default=0)
        timeout_s = _PUBLISH_TIMEOUT_S + largest / _STORED_BYTES_PER_S
        await self._have_done(JobStep("publish", spec.encode(), rows, again), timeout_s)

    async def withdraw(self, spec: JobSpec, parts: Sequence[StagedPart]) -> None:
        """Like job_steps.withdraw_output (ringmill.cluster.mapreduce.commit)."""
        timeout_s = _WITHDRAW_TIMEOUT_S + len(parts) * _REMOVED_WITHIN_S
        await self._have_done(JobStep("withdraw", spec.encode(), _rows(parts)), timeout_s)

    async def _have_done(self, step: JobStep, timeout_s: float, limits: Mapping[str, int] = _LIMITS) -> Any:
        """Run a step; if its process ended before its answer, run it again, because each step can be
        repeated."""
        for tried in range(_TRIES - 1):
            try:
                return await self._try(step, timeout_s, limits)
            except _Interrupted as error:
                step = replace(step, again=step.again or error.outcome != "failed")
                await asyncio.sleep(_PAUSE_S * tried)
        return await self._try(step, timeout_s, limits)

    async def _try(self, step: JobStep, timeout_s: float, limits: Mapping[str, int]) -> Any:
        environment = TASK_ENVIRONMENT if step.what == "until" else STORE_SETTINGS
        try:
            process = await self.spawner.start_task(workdir="/", environment=environment, limits=limits)
        except OSError as error:
            text, outcome = f"no process to {step.what} the job: {error}", _outcome(step)
            raise _Interrupted(text, outcome=outcome if step.again else "failed") from error
        try:
            said = await _answer(process, step, timeout_s)
        except TimeoutError as error:
            took = "did nothing for" if step.what in _TELLING else "took"
            text = f"{step.what} of the job {took} longer than {timeout_s:g} s"
            hint = "look whether the file systems and stores of its inputs and output answer"
            raise RingmillError(text, hint=hint, outcome=_outcome(step)) from error
        except (EOFError, BrokenPipeError, ValueError) as error:
            if step.what == "until" and await _broke_limit(process):  # it would break the same again
                raise _outgrown(process) from error
            text = f"{step.what} of the job broke off: {error}"
            raise _Interrupted(text, outcome=_outcome(step)) from error
        finally:
            await self._bury(process)
        if said.kind == "refused":
            raise from_wire(said.body)
        if said.kind == "failed":
            raise _failure(said.body)
        return said.body

    async def _bury(self, process: TaskProcess) -> None:
        process.kill()
        with suppress(TimeoutError):  # one that hangs in the kernel ends when that lets it go
            async with asyncio.timeout(self.within(_END_TIMEOUT_S)):
                await process.wait()


async def _answer(process: TaskProcess, step: JobStep, timeout_s: float) -> Said:
    """What a process says of a step in the end.

    Raises TimeoutError; EOFError, BrokenPipeError, ValueError.
    """
    clock = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s) as limit:
        await process.send(step.encode())
        if step.what == "until":
            return Said.decode(await process.receive())
        while (said := Said.decode_of_step(await process.receive())).kind == "progress":
            if step.what in _TELLING:
                limit.reschedule(clock.time() + timeout_s)
    return said


async def _broke_limit(process: TaskProcess) -> bool:
    """Whether a process that has broken off was ended for a limit of its family: that is told at its end."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            await process.wait()
    return process.breach != ""


def _outgrown(process: TaskProcess) -> TaskFailed:
    """The failure of a process that was ended for a limit of its family; the last it printed names it."""
    cause = Cause.OUT_OF_MEMORY if process.breach == "family_bytes" else Cause.KILLED
    return TaskFailed(cause, last_printed(process.output()).removeprefix("[ringmill] "))


def _rows(parts: Sequence[StagedPart]) -> list[list[Any]]:
    return [[part.partition, part.path, part.size, part.crc32c, part.records, part.name] for part in parts]


def _failure(body: Any) -> TaskFailed:
    """What a step says of its failure; the job's code may have written it."""
    try:
        return TaskFailed.from_wire(body)
    except (TypeError, ValueError) as error:
        return TaskFailed(Cause.USER_ERROR, f"wrote into its own pipe: {error}")


class _Interrupted(Unavailable):
    """No process could be started, or it ended before it answered."""


def _outcome(step: JobStep) -> str:
    """The outcome of a step that ended without an answer: an interrupted plan has no effect, but an output
    may be visible."""
    return "unknown" if step.what == "publish" else "failed"
