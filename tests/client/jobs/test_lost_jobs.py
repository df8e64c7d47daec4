"""A job whose node is gone: nobody can say from here whether its output had become visible before that."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

import pytest
from google.protobuf.message import Message

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
    """Knows a job while it runs; the watcher then meets the next run of the node, which does not."""

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
        raise NotFound("no job words-1")
        yield answer()


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[NodeThatIsRestarted]:
    yield NodeThatIsRestarted()


def no_link(address: str) -> Link:
    raise NotFound(address)


def no_files() -> AbstractContextManager[FileSystem]:
    raise NotFound("no files here")


def test_the_end_of_a_lost_job_is_unknown_and_its_output_folder_is_named() -> None:
    directory = Directory(["127.0.0.1:7101"], no_link)
    jobs = AsyncJobs(directory, dial, no_files, SeededEntropy(1, "test"), 1.0)

    async def watch() -> None:
        async for _ in jobs.watch("words-1"):
            pass

    with pytest.raises(JobFailed) as lost:
        asyncio.run(watch())
    assert lost.value.outcome == "unknown"
    assert OUTPUT in lost.value.message
    assert f"{OUTPUT}/_SUCCESS" in lost.value.hint
    assert lost.value.detail["output"] == OUTPUT
