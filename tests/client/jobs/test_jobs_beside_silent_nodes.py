"""Jobs of a cluster with one silent node: nobody waits for it, and nothing untrue is said of its jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Link
from ringmill.cluster.errors import (
    ClientClosed,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.wire.stubs import jobs_pb2
from ringmill.simulator.world.seeds import SeededEntropy
from tests.client.routing.test_router import FakeCluster

Answer = TypeVar("Answer", bound=Message)
SPEC = JobSpec("words-1", "m", "words", "a" * 64, ("/in",), "/out", "lines", "tsv", 4)
BUNDLE = Bundle(b"code", "a" * 64, "m", ())
LONG_S = 60.0
PATIENCE_S = 20.0


class JobNode:
    """One node's Jobs service: its jobs, and how it misbehaves."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.jobs: list[str] = []
        self.listed: list[jobs_pb2.JobStatus] = []
        self.term = 0
        self.is_silent = False
        self.reads_journals = True
        self.journals_begun = 0
        self.reading_s = 0.0
        self.noted: list[str] = []  # jobs that are not over, and that another node coordinates
        self.refusal: RingmillError | None = None
        self.asked: list[str] = []
        self.on_call: Callable[[str], Awaitable[None]] = nothing

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        name = path.rpartition("/")[2]
        self.asked.append(name)
        await self.on_call(name)
        if isinstance(request, jobs_pb2.SubmitRequest) and self.refusal is None and not self.is_silent:
            self.jobs.append(request.job)
            if request.job == "lost-answer":
                raise DeadlineExceeded(f"{self.address} did not answer", outcome="unknown")
        return answer.FromString((await self._answer(name, request, timeout_s)).SerializeToString())

    async def _answer(self, name: str, request: Message, timeout_s: float) -> Message:
        if self.is_silent:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded(f"{self.address} did not accept a connection", outcome="failed")
        if self.refusal is not None:
            raise self.refusal
        if name == "List":
            mine = [jobs_pb2.JobStatus(job=job) for job in self.jobs]
            return jobs_pb2.ListResponse(jobs=[*mine, *self.listed], term=self.term)
        if name == "Submit":
            return jobs_pb2.SubmitResponse()
        if name == "Coordinator":
            return jobs_pb2.CoordinatorStatus(node="n2", term=7)
        assert isinstance(request, jobs_pb2.JobRequest | jobs_pb2.LogsRequest)
        if request.job in self.noted:
            if isinstance(request, jobs_pb2.JobRequest) and request.noted and self.reads_journals:
                self.journals_begun += 1
                await asyncio.sleep(self.reading_s)
                return jobs_pb2.JobStatus(job=request.job, state="PAUSED")
            raise Unavailable("another one has it", detail={"open_job": request.job}, outcome="failed")
        if request.job not in self.jobs:
            raise NotFound(f"no job {request.job}")
        state = "KILLED" if name == "Kill" else "SUCCEEDED"
        return jobs_pb2.JobStatus(job=request.job, state=state) if name != "Logs" else jobs_pb2.LogsResponse()

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer:
        self.asked.append("PutBundle")
        await self.on_call("PutBundle")
        if self.is_silent:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded(f"{self.address} did not accept a connection", outcome="failed")
        return answer()

    async def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]:
        name = path.rpartition("/")[2]
        self.asked.append(name)
        if name == "Watch":
            asked = jobs_pb2.JobRequest(job=request.job)  # type: ignore[attr-defined]
            found = await self._answer("Status", asked, LONG_S)
            yield answer.FromString(found.SerializeToString())
            return
        assert isinstance(request, jobs_pb2.JobRequest) and request.noted
        yield answer.FromString(
            jobs_pb2.JobAttempts(attempts=[jobs_pb2.AttemptStatus(task="map-0")]).SerializeToString()
        )


class Jobs(AsyncJobs):
    """The jobs of five nodes."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.nodes = {address: JobNode(address) for address in cluster.nodes}
        self.cluster = cluster
        self.directory = Directory(list(cluster.nodes), self._link)
        super().__init__(self.directory, self._to, no_files, SeededEntropy(1, "test"), LONG_S)

    def _link(self, address: str) -> Link:
        return self.cluster.dial(address)

    @asynccontextmanager
    async def _to(self, address: str) -> AsyncIterator[JobNode]:
        yield self.nodes[address]

    def silence(self, node: JobNode) -> None:
        node.is_silent = self.cluster.nodes[node.address].is_silent = True


async def nothing(name: str) -> None:
    """What most calls do beside."""


def no_files() -> AbstractContextManager[FileSystem]:
    raise NotImplementedError


@pytest.fixture
async def jobs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Jobs]:
    monkeypatch.setattr("ringmill.client.routing.directory.PROOF_AGE_S", 0.0)
    made = Jobs(FakeCluster())
    async with made.directory:
        await made.directory.learn(LONG_S)
        yield made


def some(jobs: Jobs) -> list[JobNode]:
    return list(jobs.nodes.values())


QUESTIONS: list[tuple[str, Callable[[Jobs], object]]] = [
    ("Status", lambda jobs: jobs.status("j")),
    ("Logs", lambda jobs: jobs.logs("j")),
    ("Kill", lambda jobs: jobs.kill("j")),
    ("Status", lambda jobs: anext(jobs.watch("j"))),
    ("List", lambda jobs: jobs.list()),
]


@pytest.mark.parametrize(("verb", "question"), QUESTIONS)
async def test_every_question_is_answered_beside_a_silent_node(
    jobs: Jobs, verb: str, question: Callable[[Jobs], object]
) -> None:
    first, second, *_ = some(jobs)
    jobs.silence(first)
    second.jobs.append("j")
    async with asyncio.timeout(PATIENCE_S):
        answer = await question(jobs)  # type: ignore[misc]
    assert answer is not None
    assert verb in second.asked


async def test_the_list_is_that_of_those_who_answer(jobs: Jobs) -> None:
    first, second, third, *_ = some(jobs)
    jobs.silence(first)
    second.jobs, third.jobs = ["a"], ["b"]
    async with asyncio.timeout(PATIENCE_S):
        found = await jobs.list()
    assert {state.job for state in found} == {"a", "b"}
    assert found.silent == (first.address,), "what it keeps is left out, so it is named"


async def test_a_list_of_all_members_leaves_nobody_out(jobs: Jobs) -> None:
    some(jobs)[1].jobs = ["a", "b"]
    found = await jobs.list()
    assert [state.job for state in found[:1]] == ["a"]
    assert (len(found), found.silent) == (2, ())


async def test_a_job_that_nobody_coordinates_is_listed_as_open(jobs: Jobs) -> None:
    running = jobs_pb2.JobStatus(job="a", state="RUNNING", stages=[jobs_pb2.StageStatus(name="map")])
    over = jobs_pb2.JobStatus(job="b", state="FAILED")
    for at, node in enumerate(some(jobs)):
        node.listed, node.term = [jobs_pb2.JobStatus(job=job, state="OPEN") for job in "abc"], 3
        node.listed[at % 2] = (running, over)[at % 2]  # each knows what the others do not
    found = await jobs.list()
    assert {state.job: state.state for state in found} == {"a": "RUNNING", "b": "FAILED", "c": "OPEN"}
    assert (found.open_jobs, found.term) == (("c",), 3)


async def test_a_job_that_a_silent_node_may_keep_is_not_called_absent(jobs: Jobs) -> None:
    jobs.silence(some(jobs)[0])
    with pytest.raises(Unavailable, match="did not answer and may know it") as silent:
        async with asyncio.timeout(PATIENCE_S):
            await jobs.status("j")
    assert some(jobs)[0].address in str(silent.value)


async def test_a_job_whose_coordinator_hangs_is_told_from_its_journal(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.client.jobs.jobs.SILENT_COORDINATOR_S", 0.05)
    monkeypatch.setattr("ringmill.client.jobs.jobs.SILENT_S", LONG_S)
    first, *others = some(jobs)
    first.jobs = ["j"]
    jobs.silence(first)
    for node in others:
        node.noted = ["j"]
    async with asyncio.timeout(PATIENCE_S):
        state = await jobs.status("j")
        attempts = await jobs.attempts("j")
    assert (state.state, state.node, state.is_of_journal) == ("PAUSED", "", True)
    assert [each.task for each in attempts] == ["map-0"]


async def test_a_state_and_its_attempts_are_looked_for_once(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looked for each would wait twice for the coordinator, and may be told of two moments."""
    monkeypatch.setattr("ringmill.client.jobs.jobs.SILENT_COORDINATOR_S", 0.05)
    first, *others = some(jobs)
    first.jobs = ["j"]
    jobs.silence(first)
    for node in others:
        node.noted = ["j"]
    async with asyncio.timeout(PATIENCE_S):
        state, attempts = await jobs.state_and_attempts("j")
    assert (state.is_of_journal, [each.task for each in attempts]) == (True, ["map-0"])
    assert first.asked == ["Status"]


async def test_whoever_follows_a_job_is_first_told_what_its_journal_has(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.client.jobs.jobs.SILENT_COORDINATOR_S", 0.05)
    monkeypatch.setattr("ringmill.client.jobs.jobs.PAUSE_S", 0.01)
    first, second, *others = some(jobs)
    first.jobs = ["j"]
    jobs.silence(first)
    for node in (second, *others):
        node.noted = ["j"]
    told = []
    async with asyncio.timeout(PATIENCE_S):
        async for state in jobs.watch("j"):
            told.append((state.state, state.is_of_journal))
            second.noted, second.jobs = [], ["j"]  # the next coordinator
    assert told == [("PAUSED", True), ("SUCCEEDED", False)]


@pytest.mark.parametrize(("reading_s", "begun"), [(0.0, 1), (0.15, 2)])
async def test_a_journal_is_read_by_one_member_and_by_the_next_where_that_takes_long(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, reading_s: float, begun: int
) -> None:
    monkeypatch.setattr("ringmill.client.jobs.jobs.SILENT_COORDINATOR_S", 0.05)
    monkeypatch.setattr("ringmill.client.jobs.jobs.READING_S", 0.1)
    first, *others = some(jobs)
    first.jobs = ["j"]
    jobs.silence(first)
    for node in others:
        node.noted, node.reading_s = ["j"], reading_s
    async with asyncio.timeout(PATIENCE_S):
        assert (await jobs.status("j")).is_of_journal
    assert [node.journals_begun for node in some(jobs)].count(1) == begun


async def test_who_coordinates_is_told_beside_a_node_that_was_stopped_a_moment_ago(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client still takes it for one that answers."""
    first = jobs.nodes[jobs.directory.addresses()[0]]
    await jobs.directory.prove(first.address, LONG_S)
    monkeypatch.setattr("ringmill.client.routing.directory.PROOF_AGE_S", LONG_S)
    jobs.silence(first)
    async with asyncio.timeout(PATIENCE_S):
        assert (await jobs.coordinator()).term == 7


@pytest.mark.parametrize("begun", [False, True])
async def test_a_job_is_handed_on_by_a_node_that_was_stopped_a_moment_ago(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """The client still takes it for one that answers; it may have stopped with the submission in hand."""
    monkeypatch.setattr("ringmill.client.jobs.asking.submission.ANSWERS_WITHIN_S", 0.05)
    monkeypatch.setattr("ringmill.client.jobs.asking.submission.QUIET_CALL_S", 0.05)
    address = jobs.directory.addresses()[0]
    first = jobs.nodes[address]
    await jobs.directory.prove(address, LONG_S)
    monkeypatch.setattr("ringmill.client.routing.directory.PROOF_AGE_S", LONG_S)

    async def stopped(name: str) -> None:
        if name == "Submit" or not begun:
            jobs.silence(first)

    first.on_call = stopped
    async with asyncio.timeout(PATIENCE_S):
        assert await jobs.hand_over(BUNDLE, SPEC) == "words-1"
    assert first.asked == (["PutBundle", "Submit"] if begun else ["PutBundle"])
    assert [node.jobs for node in some(jobs) if node is not first].count(["words-1"]) == 1


async def test_a_coordinator_that_answers_tells_of_its_job_itself(jobs: Jobs) -> None:
    first, *others = some(jobs)
    first.jobs = ["j"]
    for node in others:
        node.noted = ["j"]
    assert (await jobs.status("j")).state == "SUCCEEDED"


async def test_a_job_that_nobody_coordinates_is_waited_for_where_nodes_read_no_journal(jobs: Jobs) -> None:
    """Nodes of the release before."""
    first = some(jobs)[0]
    for node in some(jobs):
        node.noted, node.reads_journals = ["j"], False
    waiting = asyncio.create_task(jobs.status("j"))
    while first.asked.count("Status") < 3:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.01)
    first.noted, first.jobs = [], ["j"]
    async with asyncio.timeout(PATIENCE_S):
        assert (await waiting).state == "SUCCEEDED"


async def test_a_job_that_nobody_keeps_is_absent(jobs: Jobs) -> None:
    with pytest.raises(NotFound):
        await jobs.status("j")


async def test_a_refusal_is_reported_as_itself(jobs: Jobs) -> None:
    for node in some(jobs)[1:]:
        node.refusal = PermissionDenied("the cluster's token is missing")
    jobs.silence(some(jobs)[0])
    for question in (jobs.status("j"), jobs.list()):
        with pytest.raises(PermissionDenied):
            await question


async def test_a_job_is_handed_to_the_first_that_answers(jobs: Jobs) -> None:
    first, second, *_ = some(jobs)
    jobs.silence(first)
    async with asyncio.timeout(PATIENCE_S):
        assert await jobs.hand_over(BUNDLE, SPEC) == "words-1"
    assert (first.asked, second.jobs) == ([], ["words-1"])


async def test_whoever_took_a_job_is_remembered_and_asked_alone(jobs: Jobs) -> None:
    await jobs.hand_over(BUNDLE, SPEC)
    await jobs.status("words-1")
    assert [len(node.asked) for node in some(jobs)] == [3, 0, 0, 0, 0]


async def test_a_submit_without_an_answer_says_that_the_job_may_have_been_accepted(jobs: Jobs) -> None:
    from dataclasses import replace

    with pytest.raises(DeadlineExceeded, match="job lost-answer may have been accepted") as lost:
        await jobs.hand_over(BUNDLE, replace(SPEC, job="lost-answer"))
    assert (lost.value.outcome, lost.value.detail["job"]) == ("unknown", "lost-answer")
    assert "job status lost-answer" in lost.value.hint
    assert {node.asked.count("Submit") for node in some(jobs)} == {1}, "it is the same job at each of them"


async def test_a_submitted_job_that_cannot_be_watched_has_an_unknown_outcome(jobs: Jobs) -> None:
    await jobs.hand_over(BUNDLE, SPEC)
    for node in some(jobs):
        node.refusal = Unavailable("the node stops", outcome="failed")
    with pytest.raises(Unavailable, match="job words-1 may have been accepted") as lost:
        await anext(jobs.watch("words-1"))
    assert (lost.value.outcome, lost.value.detail["job"]) == ("unknown", "words-1")


async def test_a_question_to_a_client_that_closes_meanwhile_says_so(jobs: Jobs) -> None:
    for node in some(jobs):
        jobs.silence(node)
    asked = asyncio.create_task(jobs.list())
    await asyncio.sleep(0.05)
    await jobs.directory.close()
    for node in some(jobs):
        node.is_silent = False
    asked.cancel()
    with pytest.raises(ClientClosed):
        await jobs.list()
