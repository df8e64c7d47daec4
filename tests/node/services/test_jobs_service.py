"""The Jobs service over real gRPC: the token, the uploaded bundle, the answers."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any, cast

import grpc
import pytest

from ringmill.client.jobs.job_values import attempt_summary, job_state
from ringmill.cluster.access.raw_tokens import TOKEN_KEY, raw_caller
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, PermissionDenied, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.heavy_keys import KeyShare
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.summary.job_summary import JobSummary
from ringmill.cluster.mapreduce.summary.node_lack import NodeLack
from ringmill.cluster.mapreduce.summary.stage_summary import StageSummary, TaskSummary
from ringmill.cluster.wire.stubs import jobs_pb2 as wire
from ringmill.node.jobs.job_history import TaskRow
from ringmill.node.jobs.views import AttemptLog, CoordinatorView, JobView, ListView
from ringmill.node.services.access.access_control import AccessControl
from ringmill.node.services.access.guarded_tables import guarded
from ringmill.node.services.grpc_calls.over_grpc import grpc_handlers
from ringmill.node.services.jobs_service import JobsService

TOKEN = "s3cret"
JOBS = "/ringmill.v1.Jobs/"


def view(state: str) -> JobView:
    summary = JobSummary(
        state, (StageSummary("map", 2, 1, 1, 100, 50),), (TaskSummary("map-0", "done", 1, "n1", ""),),
        {"map_in": 3}, {"lines": 3}, 1, ("map-1.1 on n2 failed",), (),
        (KeyShare("'\udcff'", "reduce-3", 40_000, 0.25),),
    )  # fmt: skip
    return JobView(
        job="j-1", title="wc\udcff:wc", node=NodeId("n1"), output="/out/\udcff", submitted_at=1.5,
        seconds=2.5, summary=summary, error=None, lacks=(NodeLack("n2", "its machine has no memory\udcff"),),
    )  # fmt: skip


class Keeper:
    """A coordinator with one job."""

    async def submit(self, job: str, spec: bytes) -> NodeId:
        if not spec:
            raise InvalidArgument("no description")
        return NodeId("n2")

    async def view(self, job: str, *, noted: bool = False) -> JobView:
        if job != "j-1":
            raise NotFound(f"no job {job!r} on n1")
        return view("COMMITTING")

    async def all_views(self) -> ListView:
        return ListView((view("SUCCEEDED"),), 3)

    async def watch(self, job: str) -> AsyncIterator[JobView]:
        await self.view(job)
        for state in ("RUNNING", "SUCCEEDED"):
            yield view(state)

    async def logs(self, job: str, task: str) -> list[AttemptLog]:
        return [AttemptLog(task, 1, NodeId("n1"), "UserError", b"said \xff")]

    async def attempts(self, job: str, *, noted: bool = False) -> Iterator[AttemptSummary]:
        await self.view(job)
        figures = AttemptFigures({"map": 0.25}, 0.125, 1 << 20)
        return (
            AttemptSummary(
                task=f"map-{n}", attempt=1, node="n1", state="done", counts=True, began_s=0.5, ended_s=0.75,
                figures=figures, is_near=(None, True, False)[n % 3],
            )
            for n in range(1001)
        )  # fmt: skip

    async def task(self, job: str, task: str) -> TaskRow:
        await self.view(job)
        return TaskRow(b"spec", task.encode())

    async def kill(self, job: str) -> JobView:
        return view("KILLED")

    async def pause(self, job: str) -> JobView:
        return view("PAUSED")

    async def resume(self, job: str) -> JobView:
        return view("RUNNING")

    async def purge(self, job: str) -> list[NodeId]:
        return [NodeId("n2")]

    async def coordinator(self) -> CoordinatorView:
        return CoordinatorView(node=NodeId("n1"), term=4, open_jobs=("j-1",))

    async def hand_over(self) -> CoordinatorView:
        return CoordinatorView(node=None, term=5, open_jobs=())


class Shelf:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, sha256: str, chunks: AsyncIterator[bytes]) -> int:
        data = b"".join([chunk async for chunk in chunks])
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptData("send it again")
        self.kept[sha256] = data
        return len(data)


class Served:
    def __init__(self, link: ClientLink, shelf: Shelf) -> None:
        self.link = link
        self.shelf = shelf

    async def ask(self, method: str, request: Any, answer: Any, token: str = TOKEN) -> Any:
        return await self.link.unary(JOBS + method, request, answer, 5.0, ((TOKEN_KEY, token),))


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    server, links = grpc.aio.server(), []

    async def start(token: str = TOKEN, refusal: str = "") -> Served:
        shelf = Shelf()
        control = AccessControl("n1", SystemClock(), lambda: None, has_token=bool(token))
        tables = guarded(
            [JobsService(Keeper(), shelf, refusal).service()],
            control,
            lambda told, _: raw_caller(token, told),
        )
        for service, handlers in grpc_handlers(tables, SystemClock()).items():
            server.add_registered_method_handlers(service, handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        links.append(ClientLink(f"127.0.0.1:{port}"))
        return Served(links[0], shelf)

    yield start
    for link in links:
        await link.close()
    await server.stop(0)


CALLS = [
    ("Submit", wire.SubmitRequest(job="j-1", spec=b"x"), wire.SubmitResponse),
    ("Status", wire.JobRequest(job="j-1"), wire.JobStatus),
    ("List", wire.ListRequest(), wire.ListResponse),
    ("Logs", wire.LogsRequest(job="j-1"), wire.LogsResponse),
    ("Task", wire.TaskRequest(job="j-1", task="map-0"), wire.JobTask),
    ("Kill", wire.JobRequest(job="j-1"), wire.JobStatus),
    ("Pause", wire.JobRequest(job="j-1"), wire.JobStatus),
    ("Resume", wire.JobRequest(job="j-1"), wire.JobStatus),
    ("Purge", wire.JobRequest(job="j-1"), wire.PurgeResponse),
]


async def test_a_submission_that_is_too_large_is_refused_before_it_is_decoded(serve: Any) -> None:
    served = await serve()
    request = wire.SubmitRequest(job="j-1", spec=bytes((1 << 20) + 2000))
    with pytest.raises(InvalidArgument, match=r"a message of \d+ bytes is over the limit"):
        await served.ask("Submit", request, wire.SubmitResponse)


async def test_every_method_wants_the_clusters_token(serve: Any) -> None:
    served = await serve()
    for method, request, answer in CALLS:
        await served.ask(method, request, answer)
        with pytest.raises(PermissionDenied, match="is wrong"):
            await served.ask(method, request, answer, token="guess")
        with pytest.raises(PermissionDenied, match="is missing"):
            await served.link.unary(JOBS + method, request, answer, 5.0)
    with pytest.raises(PermissionDenied, match="is missing"):
        await served.link.upload(JOBS + "PutBundle", chunks(b"code"), wire.PutBundleResponse, 5.0)
    with pytest.raises(PermissionDenied, match="is missing"):
        async for _ in served.link.stream(JOBS + "Watch", wire.WatchRequest(job="j-1"), wire.JobStatus, 5.0):
            pass
    with pytest.raises(PermissionDenied, match="is missing"):
        async for _ in served.link.stream(
            JOBS + "Attempts", wire.JobRequest(job="j-1"), wire.JobAttempts, 5.0
        ):
            pass
    assert served.shelf.kept == {}


async def test_a_node_without_a_token_takes_no_jobs_from_anybody(serve: Any) -> None:
    served = await serve("")
    for token in ("", "guess"):
        with pytest.raises(PermissionDenied, match="started without the cluster's token"):
            await served.ask(*CALLS[0], token=token)


async def chunks(data: bytes, name: str = "", size: int = 3) -> AsyncIterator[wire.BundleChunk]:
    digest = name or hashlib.sha256(data).hexdigest()
    for start in range(0, len(data), size):
        yield wire.BundleChunk(sha256=digest, data=data[start : start + size])


async def put(served: Served, parts: AsyncIterator[wire.BundleChunk]) -> Any:
    metadata = ((TOKEN_KEY, TOKEN),)
    return await served.link.upload(JOBS + "PutBundle", parts, wire.PutBundleResponse, 5.0, metadata)


async def test_a_bundle_arrives_in_chunks_and_is_checked(serve: Any) -> None:
    served = await serve()
    answer = await put(served, chunks(b"some code"))
    assert (answer.size, served.shelf.kept) == (9, {answer.sha256: b"some code"})
    with pytest.raises(CorruptData):
        await put(served, chunks(b"other", "0" * 64))
    with pytest.raises(InvalidArgument, match="without chunks"):
        await put(served, chunks(b""))


async def test_a_job_is_reported_as_it_is_and_watched_to_its_end(serve: Any) -> None:
    served = await serve()
    status = await served.ask("Status", wire.JobRequest(job="j-1"), wire.JobStatus)
    assert (status.state, status.output, status.stages[0].bytes_done) == ("RUNNING", "/out/?", 50)
    assert status.name == "wc?:wc"
    assert (dict(status.counters), list(status.events)) == ({"lines": 3}, ["map-1.1 on n2 failed"])
    assert job_state(status).heavy_keys == (KeyShare("'?'", "reduce-3", 40_000, 0.25),)
    assert job_state(status).lacks == (NodeLack("n2", "its machine has no memory?"),)
    seen = [
        each.state
        async for each in served.link.stream(
            JOBS + "Watch", wire.WatchRequest(job="j-1"), wire.JobStatus, 5.0, ((TOKEN_KEY, TOKEN),)
        )
    ]
    assert seen == ["RUNNING", "SUCCEEDED"]
    attempts = [
        one
        async for many in served.link.stream(
            JOBS + "Attempts", wire.JobRequest(job="j-1"), wire.JobAttempts, 5.0, ((TOKEN_KEY, TOKEN),)
        )
        for one in many.attempts
    ]
    assert [one.task for one in attempts] == [f"map-{n}" for n in range(1001)]
    assert (dict(attempts[0].phases_s), attempts[0].ended_s) == ({"map": 0.25}, 0.75)
    assert [attempt_summary(one).is_near for one in attempts[:3]] == [None, True, False]
    logs = await served.ask("Logs", wire.LogsRequest(job="j-1", task="map-0"), wire.LogsResponse)
    assert (logs.logs[0].task, logs.logs[0].output) == ("map-0", b"said \xff")
    listed = await served.ask("List", wire.ListRequest(), wire.ListResponse)
    assert ([each.state for each in listed.jobs], listed.term) == (["SUCCEEDED"], 3)
    assert not listed.jobs[0].counters, "each may have a thousand"
    assert not listed.jobs[0].heavy_keys and not listed.jobs[0].lacks
    purged = await served.ask("Purge", wire.JobRequest(job="j-1"), wire.PurgeResponse)
    assert list(purged.silent) == ["n2"]


async def test_errors_cross_as_themselves(serve: Any) -> None:
    served = await serve()
    errors: list[RingmillError] = []
    for method, request, answer in (
        ("Status", wire.JobRequest(job="other"), wire.JobStatus),
        ("Submit", wire.SubmitRequest(job="j-1"), wire.SubmitResponse),
    ):
        with pytest.raises(RingmillError) as caught:
            await served.ask(method, request, answer)
        errors.append(caught.value)
    assert [(type(error), str(error)) for error in errors] == [
        (NotFound, "no job 'other' on n1"),
        (InvalidArgument, "no description"),
    ]


async def test_a_node_that_cannot_contain_tasks_as_it_has_to_takes_no_job(serve: Any) -> None:
    served = await serve(refusal="--containment require, and this kernel lacks seccomp filters")
    with pytest.raises(PermissionDenied, match=r"takes no jobs: --containment require, .* lacks seccomp"):
        await served.ask(*CALLS[0])
    await served.ask(*CALLS[2])


class Slow(Keeper):
    """What an attempt has read takes a while to sum up."""

    async def attempts(self, job: str, *, noted: bool = False) -> Iterator[AttemptSummary]:
        def summed(each: AttemptSummary) -> AttemptSummary:
            time.sleep(0.002)
            return each

        return map(summed, islice(await super().attempts("j-1"), 100))


async def test_attempts_are_told_in_turns() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    told = JobsService(Slow(), Shelf())._attempts(wire.JobRequest(job="j-1"), cast("Any", None))
    assert sum([len(many.attempts) async for many in told]) == 100
    beside.cancel()
    assert turns > 10
