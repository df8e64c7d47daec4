"""Jobs: upload the code, submit, watch, ask, kill.

One node at a time coordinates all jobs; when it is gone another one goes on with them.  Any node accepts a
submission and passes it on, and knows the jobs that are over.  A client remembers which member took its own
jobs; questions about other jobs go to all members at once, and the first that knows the job answers.  Silent
members do not delay the answers of others.  The client chooses the job's id, so a repeated submission is the
same job, and one whose outcome is unknown is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from ringmill.client.arguments import Inputs, PathLike, checked_name
from ringmill.client.jobs.collected import collect_records
from ringmill.client.jobs.explanation import JobExplanation
from ringmill.client.jobs.job_errors import is_silence, job_lost, perhaps_accepted, refusal
from ringmill.client.jobs.job_modules import Target
from ringmill.client.jobs.job_packing import OpenFiles, PackedJob, chunks_of, packed_job_of
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
from ringmill.client.routing.directory import STAGGER_S, Directory, none_reachable
from ringmill.client.routing.retries import SILENCE_SHARE
from ringmill.client.routing.tracing import Tracing, no_tracer, request_span
from ringmill.cluster.errors import (
    ClientClosed,
    DeadlineExceeded,
    DiskFull,
    InvalidArgument,
    JobFailed,
    NotFound,
    Overloaded,
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

__all__ = ["AsyncJobs", "JobLink"]

Answer = TypeVar("Answer", bound=Message)
SERVICE = "/ringmill.v1.Jobs/"
PATIENCE_S = 45.0  # a job without a coordinator has another one long before
PAUSE_S = 0.2
SILENT_S = 0.8
HANDOVER_S = 10.0
REMEMBERED_JOBS = 1000


class JobLink(Protocol):
    """One node's Jobs service; every call carries the cluster's token."""

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer: ...

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer: ...

    def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]: ...


Dial = Callable[[str], AbstractAsyncContextManager[JobLink]]


class AsyncJobs:
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
    ) -> JobState:
        """Submit a job and wait for its end.

        `target` is the result of `job()`, "path/to/module.py:object" or "package.module:object".  `input` is
        one path, folder or glob, or several; of a job with sources, a mapping of their names to those; of a
        job that reads a keyspace, "kv:KEYSPACE" or "kv:KEYSPACE/PREFIX"; "job:ID" stands for the output of
        another job that has succeeded.  `output` is a folder, or "kv:KEYSPACE" for a job that writes one, or
        CollectOutput(): then the state that is returned has the records as `collected`.  Without them the
        job's own keyspaces count.  All paths must be visible to the nodes, and so must the current folder
        where a keyspace is written or records are collected: parts are staged there.  `split_mib`,
        `on_bad_record` and the paths of `side` take the place of the job's own settings (`job`).  Beside
        other jobs it gets slots in proportion to `weight`, 1 to 1,000 (rule J22).  With `network`, or if the
        job says so itself, its tasks may open connections.

        Raises InvalidArgument for a module, job or input that is not valid; JobFailed with the traceback of
        the user's code; JobKilled.
        """
        packed = await packed_job_of(
            target,
            files=self._files,
            entropy=self._entropy,
            status=self.status,
            input=input,
            output=output,
            reducers=reducers,
            params=params,
            overwrite=overwrite,
            split_mib=split_mib,
            side=side,
            on_bad_record=on_bad_record,
            weight=weight,
            network=network,
        )
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
    ) -> str:
        """Upload the code and submit the job; returns its id.  Raises what `run` raises before a job runs."""
        packed = await packed_job_of(
            target,
            files=self._files,
            entropy=self._entropy,
            status=self.status,
            input=input,
            output=output,
            reducers=reducers,
            params=params,
            overwrite=overwrite,
            split_mib=split_mib,
            side=side,
            on_bad_record=on_bad_record,
            weight=weight,
            network=network,
        )
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
        DiskFull or Overloaded when a member has no room for it, and no other one accepts it.
        """
        self._directory.lifetime.check()
        with request_span(self._tracing, f"{SERVICE}Submit"):
            return await self._submit(bundle, spec)

    async def _submit(self, bundle: Bundle, spec: JobSpec) -> str:
        failures, late = dict[str, str](), list[str]()
        perhaps: RingmillError | None = None
        refused: DiskFull | Overloaded | None = None
        patient_s = self._timeout_s * SILENCE_SHARE
        for patience_s, addresses in ((STAGGER_S, self._directory.addresses()), (patient_s, late)):
            for address in addresses:
                try:
                    await self._directory.prove(address, min(patience_s, patient_s))
                except Unavailable as error:
                    self._note(address, error, failures)
                    if patience_s < patient_s:
                        late.append(address)
                    continue
                try:
                    await self._hand_over(address, bundle, spec)
                except (Unavailable, DeadlineExceeded, DiskFull, Overloaded) as error:
                    self._note(address, error, failures)
                    perhaps = perhaps if error.outcome == "failed" else error
                    refused = error if isinstance(error, DiskFull | Overloaded) else refused
                except RingmillError as error:
                    raise (error.with_outcome("unknown") if perhaps else error) from None
                else:
                    return spec.job
        raise perhaps or refused or none_reachable(list(failures), failures)

    def _note(self, address: str, error: RingmillError, failures: dict[str, str]) -> None:
        """Note a failure and go on to the next member: a job that this one may have accepted is the same."""
        if isinstance(error, ClientClosed):
            raise error
        self._directory.blame(address)
        failures[address] = str(error)

    async def status(self, job: str) -> JobState:
        """The present state of a job.  Raises NotFound when no member that answers knows it."""
        return (await self._find(checked_name("job", job)))[1]

    async def watch(self, job: str) -> AsyncIterator[JobState]:
        """Yield the job's state at once, then at every change, until the job is over.

        When its coordinator is gone, waits for another one.  Raises NotFound; JobFailed, with outcome
        unknown, when none is found within 45 s.
        """
        address, state = await self._find_to_watch(checked_name("job", job))
        yield state
        lost_at = None
        loop = asyncio.get_running_loop()
        while not state.is_over:
            try:
                async with self._dial(address) as link:
                    request = jobs_pb2.WatchRequest(job=job)
                    async for message in link.stream(f"{SERVICE}Watch", request, jobs_pb2.JobStatus, None):
                        lost_at, state = None, job_state(message)
                        yield state
            except (Unavailable, DeadlineExceeded, NotFound) as error:
                self._directory.lifetime.check()
                if state.is_over:
                    return
                lost_at = lost_at or loop.time()
                if loop.time() - lost_at > PATIENCE_S:
                    raise job_lost(state, error) from error
                await asyncio.sleep(PAUSE_S)
                with suppress(Unavailable, DeadlineExceeded, NotFound):
                    address, state = await self._find_now(job)
                    yield state

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
        """Every attempt of a job with what it took: the maps by task, then the reduces.  Raises NotFound."""
        address, _ = await self._find(checked_name("job", job))
        request = jobs_pb2.JobRequest(job=job)
        async with self._dial(address) as link:
            found = link.stream(f"{SERVICE}Attempts", request, jobs_pb2.JobAttempts, self._timeout_s)
            return tuple([attempt_summary(one) async for many in found for one in many.attempts])

    async def explain(self, job: str) -> JobExplanation:
        """Where the time went of a job that runs or is over.  Raises NotFound."""
        state = await self.status(job)
        return JobExplanation.of(state, await self.attempts(job))

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

    async def coordinator(self) -> CoordinatorState:
        """Which node coordinates the jobs.  Raises Unavailable when no member can tell."""
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

    async def _hand_over(self, address: str, bundle: Bundle, spec: JobSpec) -> None:
        async with self._dial(address) as link:
            try:
                await link.upload(
                    f"{SERVICE}PutBundle", chunks_of(bundle), jobs_pb2.PutBundleResponse, self._timeout_s
                )
            except RingmillError as error:
                raise error.with_outcome("failed") from error  # uploaded code is not yet a job
            request = jobs_pb2.SubmitRequest(job=spec.job, spec=spec.encode())
            try:
                await link.unary(f"{SERVICE}Submit", request, jobs_pb2.SubmitResponse, self._timeout_s)
            except RingmillError as error:
                raise error if error.outcome == "failed" else perhaps_accepted(spec.job, error) from error
        self._remember(spec.job, address)

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
                if "open_job" not in error.detail or loop.time() > ends_at:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _find_now(self, job: str) -> tuple[str, JobState]:
        request, refused = jobs_pb2.JobRequest(job=job), {}
        likely = self._keepers.get(job)
        async with aclosing(self._outcomes("Status", request, jobs_pb2.JobStatus, likely)) as found:
            async for address, outcome in found:
                if not isinstance(outcome, RingmillError):
                    return address, job_state(outcome)
                refused[address] = outcome
        if all(isinstance(error, NotFound) for error in refused.values()):
            raise NotFound(f"no node knows job {job!r}", hint="`ringmill job list` shows the known jobs")
        if any("open_job" in error.detail for error in refused.values()):
            raise Unavailable(
                f"job {job} has no coordinator at the moment: it goes on with the next one",
                detail={"open_job": job},
                hint="ask again in a few seconds",
                outcome="failed",
            )
        raise refusal(refused, f"no node that answers knows job {job!r}")

    async def _find_to_watch(self, job: str) -> tuple[str, JobState]:
        """Find a job that was accepted: so no error says that nothing was changed."""
        try:
            return await self._patiently(job, PATIENCE_S)
        except (Unavailable, DeadlineExceeded) as error:
            if job in self._keepers:
                raise perhaps_accepted(job, error) from error
            raise

    async def _outcomes(
        self, method: str, request: Message, answer: type[Answer], likely: str | None = None
    ) -> AsyncGenerator[tuple[str, Answer | RingmillError], None]:
        """Yield the answer of each member as it arrives; `likely` gets a head start of STAGGER_S.

        Members that are still silent SILENT_S after the last answer come last, as DeadlineExceeded.
        """
        self._directory.lifetime.check()
        addresses = self._directory.addresses()
        asked: dict[asyncio.Task[Answer | RingmillError], str] = {}
        try:
            for group in ([likely] if likely else [], [each for each in addresses if each != likely]):
                for address in group:
                    asked[asyncio.create_task(self._ask(address, method, request, answer))] = address
                patience_s = STAGGER_S if group == [likely] else None
                while asked:
                    done, _ = await asyncio.wait(
                        asked, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    self._directory.lifetime.check()
                    for task in [each for each in asked if each in done]:
                        yield asked.pop(task), task.result()
                    if not done:
                        break
                    patience_s = patience_s or SILENT_S
            for address in asked.values():
                yield address, DeadlineExceeded(f"{address} does not answer", outcome="failed")
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _ask(
        self, address: str, method: str, request: Message, answer: type[Answer]
    ) -> Answer | RingmillError:
        try:
            async with self._dial(address) as link:
                return await link.unary(SERVICE + method, request, answer, self._timeout_s)
        except RingmillError as error:
            return error
