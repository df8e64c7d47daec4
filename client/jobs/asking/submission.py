"""A job on its way to the first member that accepts it.

Members are asked one after the other.  One that falls silent is heard further, beside the next one: where all
of them pause, as on a machine that is busy, whoever answers first takes the job.  It is the same job at each
of them.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from ringmill.client.jobs.asking.job_link import SERVICE, Dial
from ringmill.client.jobs.asking.quiet_streams import until_done
from ringmill.client.jobs.job_errors import perhaps_accepted
from ringmill.client.jobs.job_packing import chunks_of
from ringmill.client.routing.directory import STAGGER_S, Directory, none_reachable
from ringmill.client.routing.retries import SILENCE_SHARE
from ringmill.cluster.errors import (
    ClientClosed,
    DeadlineExceeded,
    DiskFull,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.gathering import end_all, first_of
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.wire.stubs import jobs_pb2

__all__ = ["Submission"]

QUIET_CALL_S: Final = 0.3
ANSWERS_WITHIN_S: Final = 0.5


class Submission:
    """One use: `run` it."""

    def __init__(
        self, directory: Directory, dial: Dial, bundle: Bundle, spec: JobSpec, timeout_s: float
    ) -> None:
        self._directory = directory
        self._dial = dial
        self._bundle = bundle
        self._spec = spec
        self._timeout_s = timeout_s
        self._under_way: list[asyncio.Task[None]] = []
        self._end: asyncio.Future[str | RingmillError] = asyncio.get_running_loop().create_future()
        """Who has accepted it, or why nobody does."""
        self._may_have_it: set[str] = set()
        self._failures: dict[str, str] = {}
        self._perhaps: RingmillError | None = None
        self._refused: DiskFull | Overloaded | QuorumNotReached | None = None

    async def run(self) -> str:
        """The address of the member that has accepted the job.  Raises what `AsyncJobs.hand_over` does."""
        try:
            await first_of(asyncio.wait([self._end]), self._offer())
        finally:
            await end_all(self._under_way, expected=RingmillError)
        end = self._end.result()
        if isinstance(end, RingmillError):
            raise end.with_outcome("unknown") if self._may_have_it and end.outcome == "failed" else end
        return end

    async def _offer(self) -> None:
        """Returns once it has ended."""
        late, patient_s = list[str](), self._timeout_s * SILENCE_SHARE
        for patience_s, addresses in ((STAGGER_S, self._directory.addresses()), (patient_s, late)):
            for address in addresses:
                try:
                    await self._directory.prove(address, min(patience_s, patient_s))
                except Unavailable as error:
                    self._note(address, error)
                    if patience_s < patient_s:
                        late.append(address)
                else:
                    await self._offer_to(address)
                if self._end.done():
                    return
        if self._under_way:
            await asyncio.wait(self._under_way)
        if not self._end.done():
            nobody = self._perhaps or self._refused or none_reachable(list(self._failures), self._failures)
            self._end.set_result(nobody)

    async def _offer_to(self, address: str) -> None:
        """Returns once this member has answered, or has fallen silent."""
        trying = asyncio.create_task(self._try(address))
        self._under_way.append(trying)
        proof = partial(self._directory.prove, address, ANSWERS_WITHIN_S, anew=True)
        try:
            await until_done(trying, proof, lambda: QUIET_CALL_S)
            await trying
        except Unavailable as error:
            self._note(address, error)

    async def _try(self, address: str) -> None:
        try:
            await self._hand_over(address)
        except (Unavailable, DeadlineExceeded, DiskFull, Overloaded, QuorumNotReached) as error:
            self._note(address, error)
            self._perhaps = self._perhaps if error.outcome == "failed" else error
            if isinstance(error, DiskFull | Overloaded | QuorumNotReached):
                self._refused = error
        except RingmillError as error:
            self._tell(error)
        else:
            self._tell(address)

    async def _hand_over(self, address: str) -> None:
        job = self._spec.job
        async with self._dial(address) as link:
            chunks = chunks_of(self._bundle)
            try:
                await link.upload(f"{SERVICE}PutBundle", chunks, jobs_pb2.PutBundleResponse, self._timeout_s)
            except RingmillError as error:
                raise error.with_outcome("failed") from error  # uploaded code is not yet a job
            self._may_have_it.add(address)
            request = jobs_pb2.SubmitRequest(job=job, spec=self._spec.encode())
            try:
                await link.unary(f"{SERVICE}Submit", request, jobs_pb2.SubmitResponse, self._timeout_s)
            except RingmillError as error:
                if error.outcome != "failed":
                    raise perhaps_accepted(job, error) from error
                self._may_have_it.discard(address)
                raise

    def _note(self, address: str, error: RingmillError) -> None:
        """Note a failure, after which the next member is asked."""
        if isinstance(error, ClientClosed):
            self._tell(error)
        else:
            self._directory.blame(address)
            self._failures[address] = str(error)

    def _tell(self, end: str | RingmillError) -> None:
        if not self._end.done():
            self._end.set_result(end)
