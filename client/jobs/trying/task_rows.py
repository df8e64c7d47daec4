"""What a map task of a job runs, as the cluster has noted it: for a replay of the task elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import msgpack
from google.protobuf.message import Message

from ringmill.client.arguments import checked_name
from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.wire.stubs import jobs_pb2

__all__ = ["MapTask", "TaskRows"]

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True, slots=True)
class MapTask:
    """A map task: the description by which it runs, and what it reads."""

    spec: JobSpec
    split: Split


class TaskRows:
    """Of the jobs of a cluster."""

    async def map_task(self, job: str, task: str) -> MapTask:
        """What a map task of a job runs ("map-3"); of a pipeline, in its present or last stage.

        Any member tells, from the job's journal.  Raises NotFound; Unavailable.
        """
        request = jobs_pb2.TaskRequest(job=checked_name("job", job), task=checked_name("task", task))
        found = await self._of_whoever_has_it("Task", request, jobs_pb2.JobTask)
        try:
            row = msgpack.unpackb(found.split, unicode_errors="surrogatepass")
            return MapTask(JobSpec.decode(found.spec), Split.from_wire(row))
        except (ValueError, TypeError, LookupError, msgpack.exceptions.UnpackException) as error:
            raise ProtocolMismatch(f"task {task} of job {job} came in another form: {error}") from error

    @abstractmethod
    async def _of_whoever_has_it(self, method: str, request: Message, answer: type[Answer]) -> Answer: ...
