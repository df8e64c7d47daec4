"""The Jobs service: decodes, asks the coordinator, encodes.  Contract: proto/jobs.proto.

Submitting a job means running code, so the table of roles lets in nobody here without a token
(node/services/access/method_roles.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from typing import Final, Protocol

import msgpack

from ringmill.cluster.errors import InvalidArgument, PermissionDenied
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import MAX_SPEC_BYTES
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.summary.chain_summary import ChainSummary
from ringmill.cluster.mapreduce.summary.job_summary import MOST_TASKS
from ringmill.cluster.wire.stubs import jobs_pb2 as wire
from ringmill.node.jobs.job_history import TaskRow
from ringmill.node.jobs.views import AttemptLog, CoordinatorView, JobView, ListView
from ringmill.node.services.table import Call, Service, stream, unary, upload

__all__ = ["Bundles", "Coordinator", "JobsService", "attempt_status", "job_status"]

_MOST_SUBMITTED_BYTES: Final = MAX_SPEC_BYTES + 1024  # and the job's name
_MAX_EVENTS: Final = 200
_ATTEMPTS_A_MESSAGE: Final = 1000
_LONGEST_TURN_S: Final = 0.005  # of the event loop: what a reduce has read is summed over all maps
_MAX_ERROR_CHARS: Final = 300


class Coordinator(Protocol):
    """What this service asks (ringmill.node.jobs.job_coordinator)."""

    async def submit(self, job: str, spec: bytes) -> NodeId: ...

    async def view(self, job: str, *, noted: bool = False) -> JobView: ...

    async def all_views(self) -> ListView: ...

    def watch(self, job: str) -> AsyncIterator[JobView]: ...

    async def logs(self, job: str, task: str) -> list[AttemptLog]: ...

    async def attempts(self, job: str, *, noted: bool = False) -> Iterator[AttemptSummary]: ...

    async def task(self, job: str, task: str) -> TaskRow: ...

    async def kill(self, job: str) -> JobView: ...

    async def pause(self, job: str) -> JobView: ...

    async def resume(self, job: str) -> JobView: ...

    async def purge(self, job: str) -> list[NodeId]: ...

    async def coordinator(self) -> CoordinatorView: ...

    async def hand_over(self) -> CoordinatorView: ...


class Bundles(Protocol):
    """Where bundles are kept (ringmill.node.compute.bundles)."""

    async def put(self, sha256: str, chunks: AsyncIterator[bytes]) -> int: ...


class JobsService:
    """`refusal` says why no job is taken; "" takes them."""

    def __init__(self, coordinator: Coordinator, bundles: Bundles, refusal: str = "") -> None:
        self._coordinator = coordinator
        self._bundles = bundles
        self._refusal = refusal

    def service(self) -> Service:
        return Service(
            "ringmill.v1.Jobs",
            {
                "PutBundle": upload(wire.BundleChunk, self._put_bundle),
                "Submit": unary(wire.SubmitRequest, self._submit, most_bytes=_MOST_SUBMITTED_BYTES),
                "Watch": stream(wire.WatchRequest, self._watch),
                "Status": unary(wire.JobRequest, self._status),
                "List": unary(wire.ListRequest, self._list),
                "Logs": unary(wire.LogsRequest, self._logs),
                "Attempts": stream(wire.JobRequest, self._attempts),
                "Task": unary(wire.TaskRequest, self._task),
                "Kill": unary(wire.JobRequest, self._kill),
                "Pause": unary(wire.JobRequest, self._pause),
                "Resume": unary(wire.JobRequest, self._resume),
                "Purge": unary(wire.JobRequest, self._purge),
                "Coordinator": unary(wire.CoordinatorRequest, self._who),
                "HandOver": unary(wire.CoordinatorRequest, self._hand_over),
            },
        )

    async def _put_bundle(
        self, chunks: AsyncIterator[wire.BundleChunk], call: Call
    ) -> wire.PutBundleResponse:
        first = await anext(chunks, None)
        if first is None:
            raise InvalidArgument("an upload without chunks")
        size = await self._bundles.put(first.sha256, _data(first, chunks))
        return wire.PutBundleResponse(sha256=first.sha256, size=size)

    async def _submit(self, request: wire.SubmitRequest, call: Call) -> wire.SubmitResponse:
        if self._refusal:
            raise PermissionDenied(
                f"this node takes no jobs: {self._refusal}",
                hint="run it on a kernel that has it, or with --containment auto",
            )
        node = await self._coordinator.submit(request.job, request.spec)
        return wire.SubmitResponse(job=request.job, node=node)

    async def _watch(self, request: wire.WatchRequest, call: Call) -> AsyncIterator[wire.JobStatus]:
        async for view in self._coordinator.watch(request.job):
            yield job_status(view)

    async def _status(self, request: wire.JobRequest, call: Call) -> wire.JobStatus:
        return job_status(await self._coordinator.view(request.job, noted=request.noted))

    async def _list(self, request: wire.ListRequest, call: Call) -> wire.ListResponse:
        listed = await self._coordinator.all_views()
        return wire.ListResponse(jobs=map(_in_brief, listed.jobs), term=listed.term)

    async def _logs(self, request: wire.LogsRequest, call: Call) -> wire.LogsResponse:
        return wire.LogsResponse(logs=map(_log, await self._coordinator.logs(request.job, request.task)))

    async def _attempts(self, request: wire.JobRequest, call: Call) -> AsyncIterator[wire.JobAttempts]:
        found = await self._coordinator.attempts(request.job, noted=request.noted)
        attempts = map(attempt_status, found)
        while many := _in_one_turn(attempts):
            yield wire.JobAttempts(attempts=many)
            await asyncio.sleep(0)

    async def _task(self, request: wire.TaskRequest, call: Call) -> wire.JobTask:
        found = await self._coordinator.task(request.job, request.task)
        return wire.JobTask(spec=found.spec, split=found.split)

    async def _kill(self, request: wire.JobRequest, call: Call) -> wire.JobStatus:
        return job_status(await self._coordinator.kill(request.job))

    async def _pause(self, request: wire.JobRequest, call: Call) -> wire.JobStatus:
        return job_status(await self._coordinator.pause(request.job))

    async def _resume(self, request: wire.JobRequest, call: Call) -> wire.JobStatus:
        return job_status(await self._coordinator.resume(request.job))

    async def _purge(self, request: wire.JobRequest, call: Call) -> wire.PurgeResponse:
        return wire.PurgeResponse(silent=await self._coordinator.purge(request.job))

    async def _who(self, request: wire.CoordinatorRequest, call: Call) -> wire.CoordinatorStatus:
        return _coordinator(await self._coordinator.coordinator())

    async def _hand_over(self, request: wire.CoordinatorRequest, call: Call) -> wire.CoordinatorStatus:
        return _coordinator(await self._coordinator.hand_over())


def _in_one_turn(attempts: Iterator[wire.AttemptStatus]) -> list[wire.AttemptStatus]:
    """The next of them, as many as a message and a turn have room for."""
    clock, many = asyncio.get_running_loop(), list[wire.AttemptStatus]()
    ends_at = clock.time() + _LONGEST_TURN_S
    for each in attempts:
        many.append(each)
        if len(many) == _ATTEMPTS_A_MESSAGE or clock.time() >= ends_at:
            break
    return many


async def _data(first: wire.BundleChunk, rest: AsyncIterator[wire.BundleChunk]) -> AsyncIterator[bytes]:
    yield first.data
    async for chunk in rest:
        if chunk.sha256 != first.sha256:
            raise InvalidArgument("chunks of two bundles in one upload")
        yield chunk.data


def _in_brief(view: JobView) -> wire.JobStatus:
    """A job in a list: without its tasks, events and counters."""
    brief = replace(view.summary, tasks=(), story=(), counters={}, heavy_keys=())
    return job_status(replace(view, summary=brief, chain=None, lacks=()))


def job_status(view: JobView) -> wire.JobStatus:
    """A job as a message for clients."""
    summary = view.summary
    return wire.JobStatus(
        job=view.job,
        name=_text(view.title),
        state=view.state,
        node=view.node,
        output=_text(view.output),
        seconds=view.seconds,
        stages=[
            wire.StageStatus(
                name=stage.name, total=stage.total, done=stage.done, running=stage.running,
                bytes_total=stage.bytes_total, bytes_done=stage.bytes_done,
            )
            for stage in summary.stages
        ],
        retried=summary.retried,
        records=summary.records,
        counters={_text(name): value for name, value in summary.counters.items()},
        error=msgpack.packb(_texts(view.error)) if view.error else b"",
        tasks=[
            wire.TaskStatus(
                task=task.task, state=task.state, attempts=task.attempts, node=task.node,
                last_error=_text(task.last_error)[:_MAX_ERROR_CHARS],
            )
            for task in summary.tasks[:MOST_TASKS]
        ],
        events=map(_text, summary.story[-_MAX_EVENTS:]),
        submitted_at=view.submitted_at,
        failures=[
            wire.FailureGroup(cause=each.cause, error=_text(each.error), count=each.count, first=each.first)
            for each in summary.failures
        ],
        left_least_s=view.left.least_s if view.left else None,
        left_most_s=view.left.most_s if view.left else None,
        weight=view.weight,
        network=view.network,
        flow=wire.JobFlow(**view.flow._asdict()),
        chain=None if view.chain is None else _chain(view.chain),
        heavy_keys=[
            wire.HeavyKey(**each._replace(key=_text(each.key))._asdict()) for each in summary.heavy_keys
        ],
        lacks=[wire.NodeLack(node=each.node, why=_text(each.why)) for each in view.lacks],
    )  # fmt: skip


def _chain(chain: ChainSummary) -> wire.ChainStatus:
    fields = asdict(chain)
    return wire.ChainStatus(**{**fields, "stages": [wire.ChainStage(**stage) for stage in fields["stages"]]})


def attempt_status(attempt: AttemptSummary) -> wire.AttemptStatus:
    """An attempt as a message for clients."""
    return wire.AttemptStatus(
        task=attempt.task,
        attempt=attempt.attempt,
        node=attempt.node,
        state=attempt.state,
        counts=attempt.counts,
        began_s=attempt.began_s,
        ended_s=attempt.ended_s,
        bytes_in=attempt.bytes_in,
        bytes_done=attempt.bytes_done,
        bytes_out=attempt.bytes_out,
        records_in=attempt.records_in,
        records_out=attempt.records_out,
        spills=attempt.spills,
        phases_s=attempt.figures.phases,
        cpu_s=attempt.figures.cpu_s,
        peak_bytes=attempt.figures.peak_bytes,
        cause=attempt.cause,
        error=_text(attempt.error)[:_MAX_ERROR_CHARS],
        backup=attempt.is_backup,
        bytes_travelled=attempt.bytes_travelled,
        bytes_unpacked=attempt.bytes_unpacked,
        containment=attempt.figures.containment,
        near=attempt.is_near,
    )


def _coordinator(view: CoordinatorView) -> wire.CoordinatorStatus:
    return wire.CoordinatorStatus(node=view.node or "", term=view.term, open_jobs=view.open_jobs)


def _log(log: AttemptLog) -> wire.TaskLog:
    return wire.TaskLog(task=log.task, attempt=log.attempt, node=log.node, cause=log.cause, output=log.output)


def _texts(value: object) -> object:
    """All texts in the wire form of an error."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return [_texts(item) for item in value]
    return {key: _texts(item) for key, item in value.items()} if isinstance(value, dict) else value


def _text(text: str) -> str:
    """A str that protobuf accepts: bytes of a path that are not UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()
