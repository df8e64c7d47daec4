"""Jobs of callers of the gateway: their modules, their inputs, and what came out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256

from ringmill.client.connection import AsyncClient
from ringmill.client.gateway.jobs.form_inputs import FormInputs
from ringmill.client.gateway.jobs.kept_inputs import KeptInputs
from ringmill.client.gateway.jobs.module_reader import ModuleReader
from ringmill.client.gateway.jobs.reading_order import JobRequest, ReadingOrder
from ringmill.client.gateway.jobs.shown_parts import ShownParts
from ringmill.client.jobs.job_packing import ID_BYTES, job_id_stem
from ringmill.client.jobs.outputs_of_jobs import with_outputs
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import Entropy

__all__ = ["GatewayJobs", "JobTaken"]


class JobTaken:
    """A job that the cluster has accepted, and where its output goes."""

    def __init__(self, job: str, output: str) -> None:
        self.job = job
        self.output = output


class GatewayJobs:
    """What one gateway does for jobs.

    `folder` is seen by all nodes: outputs that nobody names, and inputs that are sent, lie there, and
    parts for keyspaces are staged there.  `secrets` are files and folders that no module reads.  `refusal`
    says why the gateway imports no modules; "" when it does.
    """

    def __init__(
        self,
        reader: ModuleReader,
        parts: ShownParts,
        entropy: Entropy,
        close: Callable[[], Awaitable[None]],
        *,
        folder: str = "",
        inputs: KeptInputs | None = None,
        secrets: tuple[str, ...] = (),
        refusal: str = "",
    ) -> None:
        self.parts = parts
        self.refusal = refusal
        self._reader = reader
        self._entropy = entropy
        self._close = close
        self._secrets = secrets
        self._folder = folder
        self._inputs = inputs

    def form_inputs(self) -> FormInputs:
        """For the inputs of one submission."""
        return FormInputs(self._inputs)

    async def aclose(self) -> None:
        """End the processes that import modules, whatever they do."""
        await self._close()

    async def submit(
        self, client: AsyncClient, request: JobRequest, sent: FormInputs, name: str = ""
    ) -> JobTaken:
        """Read the module and hand the job over, as `client`.  With `name` its id follows from that, so that
        a repeated submission is the same job.  `sent` are inputs that came with the request.

        Raises InvalidArgument for what is not valid, and when the name was that of another job; what
        `AsyncJobs.submit` raises.
        """
        job = self._id_of(request.target, name)
        inputs = await with_outputs(request.input, client.jobs.status)
        asked = replace(request, input=inputs)
        read = await self._reader.read(ReadingOrder(asked, job, self._folder, self._secrets))
        self._refuse_parts_without_a_folder(read.spec)
        await sent.publish()
        await client.jobs.hand_over(read.bundle, read.spec)
        spec = read.spec
        shown = f"kv:{spec.output_keyspace}" if spec.output_keyspace else spec.output_url or spec.output
        return JobTaken(job, shown)

    def _refuse_parts_without_a_folder(self, spec: JobSpec) -> None:
        """Raises InvalidArgument."""
        if not self._folder and (spec.output_keyspace or spec.output_url):
            raise InvalidArgument(
                "this gateway has no folder in which the parts of an output that is not a folder are staged",
                hint="it has with --jobs-folder; or name a folder as output",
            )

    def _id_of(self, target: str, name: str) -> str:
        if name:
            tail = sha256(name.encode()).digest()[:ID_BYTES]
        else:
            tail = self._entropy.random_bytes("gateway.job", ID_BYTES)
        return f"{job_id_stem(target.rpartition(':')[2])}-{tail.hex()}"
