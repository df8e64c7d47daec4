"""A job whose coordinator is gone: it is watched at the next one, and without one its end is unknown."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import ClassVar, TypeVar

import pytest
from google.protobuf.message import Message

from ringmill.client.jobs import jobs as jobs_module
from ringmill.client.jobs.asking import quiet_streams
from ringmill.client.jobs.job_errors import job_lost
from ringmill.client.jobs.job_values import job_state
from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Link
from ringmill.cluster.errors import DiskFull, JobFailed, NotFound, Overloaded, Unavailable
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.wire.stubs import jobs_pb2
from ringmill.simulator.world.seeds import SeededEntropy

Answer = TypeVar("Answer", bound=Message)
OUTPUT = "/out/words"


class NodeThatIsRestarted:
    """Knows a job while it runs; the watcher then meets the next run of the node, which does not.

    `streams` are the states that each stream begins with, before it breaks.
    """

    streams: ClassVar[list[str]] = []

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        status = jobs_pb2.JobStatus(job="words-1", state="RUNNING", node="n1", output=OUTPUT)
        return answer.FromString(status.SerializeToString())

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer:
        raise NotFound("no uploads here")

    async def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]:
        if self.streams:
            status = jobs_pb2.JobStatus(job="words-1", state=self.streams.pop(0), node="n2", output=OUTPUT)
            yield answer.FromString(status.SerializeToString())
        raise NotFound("no job words-1")


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[NodeThatIsRestarted]:
    yield NodeThatIsRestarted()


def no_link(address: str) -> Link:
    raise NotFound(address)


def no_files() -> AbstractContextManager[FileSystem]:
    raise NotFound("no files here")


async def watched() -> list[tuple[str, str]]:
    directory = Directory(["127.0.0.1:7101"], no_link)
    jobs = AsyncJobs(directory, dial, no_files, SeededEntropy(1, "test"), 1.0)
    return [(state.node, state.state) async for state in jobs.watch("words-1")]


async def test_a_job_is_watched_on_at_its_next_coordinator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "PAUSE_S", 0.01)
    monkeypatch.setattr(NodeThatIsRestarted, "streams", ["RUNNING", "SUCCEEDED"])
    told = await watched()
    assert told == [("n1", "RUNNING"), ("n2", "RUNNING"), ("n1", "RUNNING"), ("n2", "SUCCEEDED")]


async def test_the_end_of_a_job_that_nobody_coordinates_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "PATIENCE_S", 0.1)
    with pytest.raises(JobFailed) as lost:
        await watched()
    assert lost.value.outcome == "unknown"
    assert OUTPUT in lost.value.message
    assert "job status words-1" in lost.value.hint
    assert lost.value.detail["output"] == OUTPUT


class NodeWithAJobThatIsOver(NodeThatIsRestarted):
    """All nodes tell of the job, and only the one at port 7103 has what it printed."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        if not path.endswith("Logs"):
            status = jobs_pb2.JobStatus(job="words-1", state="FAILED", node="n3", output=OUTPUT)
            return answer.FromString(status.SerializeToString())
        if not self._address.endswith("7103"):
            raise NotFound("the logs of job words-1 were kept by n3 until it stopped")
        logs = jobs_pb2.LogsResponse(logs=[jobs_pb2.TaskLog(task="map-0", attempt=1)])
        return answer.FromString(logs.SerializeToString())


@pytest.mark.parametrize(("ports", "found"), [((7101, 7102, 7103), True), ((7101, 7102), False)])
async def test_logs_come_from_the_node_that_has_them_whichever_tells_of_the_job(
    ports: tuple[int, ...], found: bool
) -> None:
    @asynccontextmanager
    async def dial_one(address: str) -> AsyncIterator[NodeThatIsRestarted]:
        yield NodeWithAJobThatIsOver(address)

    directory = Directory([f"127.0.0.1:{port}" for port in ports], no_link)
    jobs = AsyncJobs(directory, dial_one, no_files, SeededEntropy(1, "test"), 1.0)
    if found:
        assert [log.task for log in await jobs.logs("words-1")] == ["map-0"]
    else:
        with pytest.raises(NotFound, match="kept by n3"):
            await jobs.logs("words-1")


class NodeThatTakesJobs(NodeThatIsRestarted):
    """Has no room for a job's code if its port is in `full`; none takes a job if `is_silent`."""

    def __init__(self, address: str, full: tuple[int, ...], is_silent: bool) -> None:
        self._is_full, self._is_silent = int(address.split(":")[1]) in full, is_silent

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        if self._is_silent:
            raise Unavailable("gone", outcome="unknown")
        return answer()

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer:
        if self._is_full:
            raise DiskFull("no room for a job's code")
        return answer()


async def handed_over(full: tuple[int, ...], *, is_silent: bool = False) -> str:
    @asynccontextmanager
    async def dial_one(address: str) -> AsyncIterator[NodeThatIsRestarted]:
        yield NodeThatTakesJobs(address, full, is_silent)

    directory = Directory(["127.0.0.1:7101", "127.0.0.1:7102"], no_link)
    spec = JobSpec(
        job="words-1", module="m", name="job", bundle_sha256="0" * 64, inputs=("/in",), output=OUTPUT,
        input_format="text", output_format="text", reducers=1,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Directory, "prove", proven)
        jobs = AsyncJobs(directory, dial_one, no_files, SeededEntropy(1, "test"), 1.0)
        return await jobs.hand_over(Bundle(b"", spec.bundle_sha256, "m", ()), spec)


async def proven(directory: Directory, address: str, patience_s: float, *, anew: bool = False) -> None:
    return None


async def test_a_full_disk_where_the_code_is_sent_first_does_not_end_the_submission() -> None:
    for full in (7101, 7102):
        assert await handed_over((full,)) == "words-1"


async def test_a_node_that_takes_as_many_uploads_as_it_may_does_not_end_the_submission() -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(globals(), "DiskFull", Overloaded)
        for busy in (7101, 7102):
            assert await handed_over((busy,)) == "words-1"
        with pytest.raises(Overloaded, match="no room"):
            await handed_over((7101, 7102))


async def test_that_the_disks_are_full_is_told_when_no_member_takes_the_job() -> None:
    with pytest.raises(DiskFull, match="no room"):
        await handed_over((7101, 7102))
    with pytest.raises(Unavailable, match="may have been accepted") as refused:
        await handed_over((7102,), is_silent=True)
    assert refused.value.outcome == "unknown"


class NodeThatHangs(NodeThatIsRestarted):
    """Its first stream tells nothing and does not end; the next coordinator tells the end of the job."""

    has_hung = False

    async def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]:
        if not NodeThatHangs.has_hung:
            NodeThatHangs.has_hung = True
            await asyncio.Event().wait()
        status = jobs_pb2.JobStatus(job="words-1", state="SUCCEEDED", node="n2", output=OUTPUT)
        yield answer.FromString(status.SerializeToString())


async def test_a_job_whose_coordinator_hangs_is_watched_on_at_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stopped process keeps its connections: its stream does not break."""
    monkeypatch.setattr(jobs_module, "PAUSE_S", 0.01)
    monkeypatch.setattr(quiet_streams, "QUIET_S", 0.01)

    @asynccontextmanager
    async def dial(address: str) -> AsyncIterator[NodeThatHangs]:
        yield NodeThatHangs()

    directory = Directory(["127.0.0.1:7101"], no_link)  # nobody answers its question
    jobs = AsyncJobs(directory, dial, no_files, SeededEntropy(1, "test"), 1.0)
    async with asyncio.timeout(20):
        told = [(state.node, state.state) async for state in jobs.watch("words-1")]
    assert told == [("n1", "RUNNING"), ("n1", "RUNNING"), ("n2", "SUCCEEDED")]


class NodeWithAJournal(NodeThatIsRestarted):
    """The coordinator tells that the job runs, and is gone; this node knows that it is open, and reads that
    it has ended."""

    streams: ClassVar[list[str]] = ["RUNNING"]
    has_begun = False

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        assert isinstance(request, jobs_pb2.JobRequest)
        if NodeWithAJournal.has_begun and not request.noted:
            raise Unavailable("it waits for a coordinator", detail={"open_job": "words-1"}, outcome="failed")
        NodeWithAJournal.has_begun = True
        state, node = ("SUCCEEDED", "") if request.noted else ("RUNNING", "n1")
        status = jobs_pb2.JobStatus(job="words-1", state=state, node=node, output=OUTPUT)
        return answer.FromString(status.SerializeToString())


async def test_an_end_that_the_journal_has_is_told_without_a_coordinator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs_module, "PAUSE_S", 0.01)

    @asynccontextmanager
    async def dial(address: str) -> AsyncIterator[NodeWithAJournal]:
        yield NodeWithAJournal()

    directory = Directory(["127.0.0.1:7101"], no_link)
    jobs = AsyncJobs(directory, dial, no_files, SeededEntropy(1, "test"), 1.0)
    async with asyncio.timeout(20):
        told = [(state.node, state.state) async for state in jobs.watch("words-1")]
    assert told == [("n1", "RUNNING"), ("n2", "RUNNING"), ("", "SUCCEEDED")]


def test_a_lost_job_whose_coordinator_is_not_known_is_told_without_its_name() -> None:
    state = job_state(jobs_pb2.JobStatus(job="words-1", state="RUNNING", output=OUTPUT))
    assert "its coordinator is gone and no other" in job_lost(state, Unavailable("gone")).message
