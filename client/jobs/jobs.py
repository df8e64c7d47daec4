"""Jobs: upload the code, submit, watch, ask, kill.

One node at a time coordinates all jobs; when it is gone another one goes on with them.  Any node accepts a
submission and passes it on, and knows the jobs that are over.  A client remembers which member took its own
jobs; questions about other jobs go to all members at once, and the first that knows the job answers.  Where
its coordinator does not, another member reads its journal.  Silent members do not delay the answers of
others.  The client chooses the job's id, so a repeated submission is the same job, and one whose outcome is
unknown is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from ringmill.client.arguments import Inputs, PathLike, checked_name
from ringmill.client.jobs.asking.job_link import SERVICE, Dial
from ringmill.client.jobs.asking.outcomes import SILENT_S, outcomes
from ringmill.client.jobs.asking.quiet_streams import while_answered
from ringmill.client.jobs.asking.submission import Submission
from ringmill.client.jobs.collected import collect_records
from ringmill.client.jobs.explanation import JobExplanation
from ringmill.client.jobs.job_errors import is_open, is_silence, job_lost, not_told, perhaps_accepted, refusal
from ringmill.client.jobs.job_modules import Target
from ringmill.client.jobs.job_packing import OpenFiles, PackedJob, packed_job_of
from ringmill.client.jobs.job_values import (
    CoordinatorState,
    JobList,
    JobState,
    TaskLog,
    attempt_summary,
    how_much_tells,
    job_state,
    task_log,
)
from ringmill.client.jobs.trying.task_rows import TaskRows
from ringmill.client.routing.directory import STAGGER_S, Directory, none_reachable
from ringmill.client.routing.tracing import Tracing, no_tracer, request_span
from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    JobFailed,
    NotFound,
    QuorumNotReached,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.formats import CollectOutput
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.ports import Entropy
from ringmill.cluster.wire.stubs import jobs_pb2

__all__ = ["AsyncJobs"]

Answer = TypeVar("Answer", bound=Message)
PATIENCE_S = 45.0  # a job without a coordinator has another one long before
PAUSE_S = 0.2
SILENT_COORDINATOR_S = 0.5  # of a job that others know: its journal can be read instead
READING_S = 0.5  # of a journal, before another member is asked to read it, too
HANDOVER_S = 10.0
REMEMBERED_JOBS = 1000


class AsyncJobs(TaskRows):
    """The jobs of a cluster.  Every call needs a token with the role `jobs` (`connect(..., token=)`)."""

    def __init__(
        self,
        directory: Directory,
        dial: Dial,
        files: OpenFiles,
        entropy: Entropy,
        timeout_s: float,
        tracing: Tracing = no_tracer,
    ) -> None:
        self._directory = directory
        self._dial = dial
        self._files = files
        self._entropy = entropy
        self._timeout_s = timeout_s
        self._tracing = tracing
        self._keepers: dict[str, str] = {}  # the member that accepted each job submitted here

    async def run(
        self,
        target: Target,
        *,
        input: Inputs | None = None,
        output: PathLike | CollectOutput | None = None,
        reducers: int | None = None,
        params: Mapping[str, str] | None = None,
        overwrite: bool = False,
        split_mib: int | None = None,
        side: Mapping[str, str] | None = None,
        on_bad_record: str | None = None,
        weight: int = 1,
        network: bool = False,
        task_memory_mib: int | None = None,
    ) -> JobState:
        """Submit a job and wait for its end.

        `target` is the result of `job()`, "path/to/module.py:object" or "package.module:object".  `input` is
        one path, folder or glob, or several; of a job with sources, a mapping of their names to those; of a
        job that reads a keyspace, "kv:KEYSPACE" or "kv:KEYSPACE/PREFIX"; "job:ID" stands for the output of
        another job that has succeeded.  `output` is a folder, or "kv:KEYSPACE" for a job that writes one, or
        CollectOutput(): then the state that is returned has the records as `collected`.  Without them the
        job's own keyspaces count.  All paths must be visible to the nodes, and so must the current folder
        where a keyspace is written or records are collected: parts are staged there.  `split_mib`,
        `task_memory_mib`, `on_bad_record` and the paths of `side` take the place of the job's own settings
        (`job`).  Beside other jobs it gets slots in proportion to `weight`, 1 to 1,000 (rule J22).  With
        `network`, or if the job says so itself, its tasks may open connections.

        Raises InvalidArgument for a module, job or input that is not valid; JobFailed with the traceback of
        the user's code; JobKilled.
        """
        packed = await packed_job_of(
            target, files=self._files, entropy=self._entropy, status=self.status, input=input, output=output,
            reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib, side=side,
            on_bad_record=on_bad_record, weight=weight, network=network, task_memory_mib=task_memory_mib,
        )  # fmt: skip
        job = await self.hand_over(packed.bundle, packed.spec)
        async for state in self.watch(job):
            if state.is_over:
                state.raise_unless_succeeded()
                return await self._with_collected(packed, state)
        raise JobFailed(f"job {job} ended without a final state", detail={"job": job})

    async def _with_collected(self, packed: PackedJob, state: JobState) -> JobState:
        if not packed.spec.collect_bytes:
            return state
        with self._files() as files:
            taken = await collect_records(packed.definition, packed.spec.output, files)
        return replace(state, collected=taken)

    async def submit(
        self,
        target: Target,
        *,
        input: Inputs | None = None,
        output: PathLike | None = None,
        reducers: int | None = None,
        params: Mapping[str, str] | None = None,
        overwrite: bool = False,
        split_mib: int | None = None,
        side: Mapping[str, str] | None = None,
        on_bad_record: str | None = None,
        weight: int = 1,
        network: bool = False,
        task_memory_mib: int | None = None,
    ) -> str:
        """Upload the code and submit the job; returns its id.  Raises what `run` raises before a job runs."""
        packed = await packed_job_of(
            target, files=self._files, entropy=self._entropy, status=self.status, input=input, output=output,
            reducers=reducers, params=params, overwrite=overwrite, split_mib=split_mib, side=side,
            on_bad_record=on_bad_record, weight=weight, network=network, task_memory_mib=task_memory_mib,
        )  # fmt: skip
        if packed.spec.collect_bytes:
            raise InvalidArgument(
                "CollectOutput is for whoever waits for the end of the job, as run does",
                hint="db.jobs.run(...), or an output folder",
            )
        return await self.hand_over(packed.bundle, packed.spec)

    async def hand_over(self, bundle: Bundle, spec: JobSpec) -> str:
        """Submit a packed job to the first member that accepts it; returns its id.

        A repeated submission is the same job, so one of unknown outcome is repeated at the next member.
        Raises InvalidArgument, Unavailable or DeadlineExceeded, "unknown" when it may have been accepted;
        DiskFull, Overloaded or QuorumNotReached when a member has no room for it, or reaches too few others,
        and no other one accepts it.
        """
        self._directory.lifetime.check()
        with request_span(self._tracing, f"{SERVICE}Submit"):
            submission = Submission(self._directory, self._dial, bundle, spec, self._timeout_s)
            self._remember(spec.job, await submission.run())
        return spec.job

    async def status(self, job: str) -> JobState:
        """The state of a job, of its journal where its coordinator does not answer.  Raises NotFound."""
        return (await self._find_told(checked_name("job", job)))[1]

    async def watch(self, job: str) -> AsyncIterator[JobState]:
        """Yield the job's state at once, then at every change, until the job is over.

        When its coordinator is gone, or does not answer, yields what its journal has and waits for another
        one.  Raises NotFound; JobFailed, with outcome unknown, when none is found within 45 s.
        """
        address, state = await self._find_to_watch(checked_name("job", job))
        yield state
        lost_at = None
        loop = asyncio.get_running_loop()
        while not state.is_over:
            try:
                async with aclosing(self._told(address, job)) as told:
                    async for state in told:
                        lost_at = None
                        yield state
            except (Unavailable, DeadlineExceeded, NotFound) as error:
                self._directory.lifetime.check()
                if state.is_over:
                    return
                is_news = lost_at is None and not state.is_of_journal
                lost_at = lost_at or loop.time()
                if loop.time() - lost_at > PATIENCE_S:
                    raise job_lost(state, error) from error
                await asyncio.sleep(PAUSE_S)
                with suppress(Unavailable, DeadlineExceeded, NotFound):
                    if found := await (self._tell_now(job) if is_news else self._find_now(job)):
                        address, state = found
                        yield state

    async def _told(self, address: str, job: str) -> AsyncGenerator[JobState, None]:
        """What this member tells of a job that it coordinates, for as long as it answers."""
        request = jobs_pb2.WatchRequest(job=job)
        async with self._dial(address) as link:
            stream = link.stream(f"{SERVICE}Watch", request, jobs_pb2.JobStatus, None)
            prove = partial(self._directory.prove, address, SILENT_S)
            async with aclosing(while_answered(stream, prove)) as messages:
                async for message in messages:
                    yield job_state(message)

    async def list(self) -> JobList:
        """All jobs that the members know, newest first; `silent` names the members that do not answer.

        A job that is not over, and that no member which answers coordinates, is OPEN.

        Raises Unavailable when none answers.
        """
        answers, refused = [], {}
        async with aclosing(self._outcomes("List", jobs_pb2.ListRequest(), jobs_pb2.ListResponse)) as found:
            async for address, outcome in found:
                if isinstance(outcome, RingmillError):
                    refused[address] = outcome
                else:
                    answers.append(outcome)
        if refused and (not answers or not all(map(is_silence, refused.values()))):
            raise refusal(refused)
        jobs: dict[str, JobState] = {}
        for state in (job_state(one) for answer in answers for one in answer.jobs):
            if state.job not in jobs or how_much_tells(state) >= how_much_tells(jobs[state.job]):
                jobs[state.job] = state
        newest_first = sorted(jobs.values(), key=lambda state: (-state.submitted_at, state.job))
        term = max((answer.term for answer in answers), default=0)
        return JobList(tuple(newest_first), tuple(sorted(refused)), term)

    async def logs(self, job: str, *, task: str = "") -> Sequence[TaskLog]:
        """The output of all attempts of a job, or of one task.  Raises NotFound."""
        request = jobs_pb2.LogsRequest(job=checked_name("job", job), task=checked_name("task", task))
        try:
            answer = await self._of_keeper(job, "Logs", request, jobs_pb2.LogsResponse)
        except NotFound:  # any node tells of a job that is over, but only its last coordinator has the logs
            answer = await self._of_whoever_has_it("Logs", request, jobs_pb2.LogsResponse)
        return [task_log(one) for one in answer.logs]

    async def attempts(self, job: str) -> tuple[AttemptSummary, ...]:
        """Every attempt of a job, as `status`: the maps by task, then the reduces.  Raises NotFound."""
        return (await self.state_and_attempts(job))[1]

    async def state_and_attempts(self, job: str) -> tuple[JobState, tuple[AttemptSummary, ...]]:
        """What `status` and `attempts` give, by one member that tells of the job.  Raises NotFound."""
        address, state = await self._find_told(checked_name("job", job))
        request = jobs_pb2.JobRequest(job=job, noted=True)
        async with self._dial(address) as link:
            found = link.stream(f"{SERVICE}Attempts", request, jobs_pb2.JobAttempts, self._timeout_s)
            return state, tuple([attempt_summary(one) async for many in found for one in many.attempts])

    async def explain(self, job: str) -> JobExplanation:
        """Where the time went of a job that runs or is over.  Raises NotFound."""
        return JobExplanation.of(*await self.state_and_attempts(job))

    async def kill(self, job: str) -> JobState:
        """Stop a job and return its state.  Raises NotFound; DeadlineExceeded or Unavailable with outcome
        "unknown" when the job may be stopped and may go on.

        A job that is over, or is showing its output, does not change.
        """
        request = jobs_pb2.JobRequest(job=checked_name("job", job))
        return job_state(await self._of_keeper(job, "Kill", request, jobs_pb2.JobStatus))

    async def pause(self, job: str) -> JobState:
        """Let a job begin no more attempts, until `resume`; returns its state, PAUSED if that was heeded.

        Attempts that run go on to their end.  Raises like `kill`, and changes no job that `kill` would not.
        """
        request = jobs_pb2.JobRequest(job=checked_name("job", job))
        return job_state(await self._of_keeper(job, "Pause", request, jobs_pb2.JobStatus))

    async def resume(self, job: str) -> JobState:
        """Let a paused job go on; one that is not paused does not change.  Raises like `kill`."""
        request = jobs_pb2.JobRequest(job=checked_name("job", job))
        return job_state(await self._of_keeper(job, "Resume", request, jobs_pb2.JobStatus))

    async def purge(self, job: str) -> tuple[str, ...]:
        """Remove a job that is over from the history: its row, figures, errors and events.  Its output stays.

        Returns the members that did not hear of it, and may tell of the job from memory until they stop.
        Raises NotFound; Conflict for a job that is not over; DeadlineExceeded or Unavailable, with outcome
        "unknown" when it may be removed, or a part of it.
        """
        request = jobs_pb2.JobRequest(job=checked_name("job", job))
        return tuple((await self._of_keeper(job, "Purge", request, jobs_pb2.PurgeResponse)).silent)

    async def coordinator(self) -> CoordinatorState:
        """Which node coordinates the jobs.  Raises Unavailable when no member can tell."""
        request = jobs_pb2.CoordinatorRequest()
        with suppress(Unavailable, DeadlineExceeded, QuorumNotReached):  # told below by all of them
            answer = await self._of_whoever_has_it("Coordinator", request, jobs_pb2.CoordinatorStatus)
            return CoordinatorState(answer.node, answer.term, tuple(answer.open_jobs))
        return await self._of_any("Coordinator")

    async def handover(self) -> CoordinatorState:
        """Have another member coordinate the jobs; returns once it does.

        Attempts that run go on, and nothing that is done is done again.  Raises NotFound when nobody
        coordinates; Unavailable when no other member can.
        """
        return await self._of_any("HandOver")

    async def _of_any(self, method: str) -> CoordinatorState:
        """The answer of the first member that can give one."""
        self._directory.lifetime.check()
        failures: dict[str, str] = {}
        for address in self._directory.addresses():
            try:
                await self._directory.prove(address, STAGGER_S)
                async with self._dial(address) as link:
                    answer = await link.unary(
                        SERVICE + method, jobs_pb2.CoordinatorRequest(), jobs_pb2.CoordinatorStatus,
                        max(self._timeout_s, HANDOVER_S),
                    )  # fmt: skip
            except (Unavailable, DeadlineExceeded, QuorumNotReached) as error:
                self._directory.lifetime.check()
                failures[address] = str(error)
            else:
                return CoordinatorState(answer.node, answer.term, tuple(answer.open_jobs))
        raise none_reachable(list(failures), failures)

    def _remember(self, job: str, address: str) -> None:
        self._keepers[job] = address
        while len(self._keepers) > REMEMBERED_JOBS:
            del self._keepers[next(iter(self._keepers))]

    async def _of_keeper(self, job: str, method: str, request: Message, answer: type[Answer]) -> Answer:
        address, _ = await self._find(job)
        async with self._dial(address) as link:
            return await link.unary(SERVICE + method, request, answer, self._timeout_s)

    async def _of_whoever_has_it(self, method: str, request: Message, answer: type[Answer]) -> Answer:
        """Raises what the last node says when none has it."""
        error: RingmillError = NotFound("there is no node to ask")
        async with aclosing(self._outcomes(method, request, answer)) as found:
            async for _, outcome in found:
                if not isinstance(outcome, RingmillError):
                    return outcome
                error = outcome
        raise error

    async def _find(self, job: str) -> tuple[str, JobState]:
        """The address of the job's coordinator, and the job's state; waits a while for a coordinator."""
        return await self._patiently(job, self._timeout_s)

    async def _patiently(self, job: str, patience_s: float) -> tuple[str, JobState]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + patience_s
        while True:
            try:
                return await self._find_now(job)
            except Unavailable as error:
                if not is_open(error) or loop.time() > ends_at:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _find_told(self, job: str) -> tuple[str, JobState]:
        """A member that tells of the job: its coordinator, or who has read its journal."""
        return await self._tell_now(job) or await self._find(job)

    async def _tell_now(self, job: str) -> tuple[str, JobState] | None:
        """The same; None for a job that is open, and whose journal nobody reads: nodes of the release before
        do not."""
        refused = dict[str, RingmillError]()
        if found := await self._look_for(job, refused):
            return found
        knowing = [address for address, error in refused.items() if is_open(error)]
        if not knowing:
            raise not_told(job, refused)
        return await self._look_for(job, {}, knowing)

    async def _find_now(self, job: str) -> tuple[str, JobState]:
        refused = dict[str, RingmillError]()
        if found := await self._look_for(job, refused):
            return found
        raise not_told(job, refused)

    async def _look_for(
        self, job: str, refused: dict[str, RingmillError], knowing: Sequence[str] = ()
    ) -> tuple[str, JobState] | None:
        """A member that tells of the job; None when there is none, with what each says in `refused`.

        Of those that are `knowing` of a job that is open each reads its journal, which may be large: so they
        are asked one after the other.
        """
        request = jobs_pb2.JobRequest(job=job, noted=bool(knowing))
        likely = self._keepers.get(job)
        others = [each for each in self._directory.addresses() if each != likely]
        found = outcomes(
            self._directory,
            lambda address: self._ask(address, "Status", request, jobs_pb2.JobStatus),
            [[each] for each in knowing] or [[likely] if likely else [], others],
            head_start_s=READING_S if knowing else STAGGER_S,
            silent_s=lambda: SILENT_COORDINATOR_S if any(map(is_open, refused.values())) else SILENT_S,
        )
        async with aclosing(found):
            async for address, outcome in found:
                if not isinstance(outcome, RingmillError):
                    return address, job_state(outcome)
                refused[address] = outcome
        return None

    async def _find_to_watch(self, job: str) -> tuple[str, JobState]:
        """Find a job that was accepted: so no error says that nothing was changed."""
        try:
            return await self._tell_now(job) or await self._patiently(job, PATIENCE_S)
        except (Unavailable, DeadlineExceeded) as error:
            if job in self._keepers:
                raise perhaps_accepted(job, error) from error
            raise

    def _outcomes(
        self, method: str, request: Message, answer: type[Answer]
    ) -> AsyncGenerator[tuple[str, Answer | RingmillError], None]:
        """The answer of each member; see `outcomes`."""
        everybody = [self._directory.addresses()]
        return outcomes(
            self._directory, lambda address: self._ask(address, method, request, answer), everybody
        )

    async def _ask(
        self, address: str, method: str, request: Message, answer: type[Answer]
    ) -> Answer | RingmillError:
        try:
            async with self._dial(address) as link:
                return await link.unary(SERVICE + method, request, answer, self._timeout_s)
        except RingmillError as error:
            return error
