"""A job whose coordinator is gone: it is watched at the next one, and without one its end is unknown."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import ClassVar, TypeVar

import pytest
from google.protobuf.message import Message

from ringmill.client.jobs import jobs as jobs_module
from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Link
from ringmill.cluster.errors import JobFailed, NotFound
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
