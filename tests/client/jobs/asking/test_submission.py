"""A submission goes on to the next member where one falls silent, and hears all of them until its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ringmill.cluster.errors import ClientClosed, DeadlineExceeded, InvalidArgument, QuorumNotReached
from tests.client.jobs.test_jobs_beside_silent_nodes import (
    BUNDLE,
    LONG_S,
    PATIENCE_S,
    SPEC,
    JobNode,
    Jobs,
    jobs,
    nothing,
    some,
)

__all__ = ["jobs"]

PAUSE_S = 0.6


@pytest.fixture(autouse=True)
async def short(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """None is left without an owner."""
    monkeypatch.setattr("ringmill.client.jobs.asking.submission.QUIET_CALL_S", 0.05)
    monkeypatch.setattr("ringmill.client.jobs.asking.submission.ANSWERS_WITHIN_S", 0.05)
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert [task for task in left if "client-" not in task.get_name()] == []


def stopped_by(jobs: Jobs, node: JobNode, name: str, pause_s: float) -> None:
    """The node is stopped when it gets this call, and goes on with it and with all others after that."""

    async def stopped(called: str) -> None:
        if called == name:
            jobs.silence(node)
            await asyncio.sleep(pause_s)
            node.is_silent = jobs.cluster.nodes[node.address].is_silent = False

    node.on_call = stopped


@pytest.mark.parametrize("name", ["PutBundle", "Submit"])
@pytest.mark.parametrize("there", [1, 5])
async def test_a_pause_of_all_ends_no_submission(jobs: Jobs, name: str, there: int) -> None:
    for address in jobs.directory.addresses()[there:]:
        jobs.silence(jobs.nodes[address])
    for address in jobs.directory.addresses()[:there]:
        stopped_by(jobs, jobs.nodes[address], name, PAUSE_S)
    async with asyncio.timeout(PATIENCE_S):
        assert await jobs.hand_over(BUNDLE, SPEC) == "words-1"
    assert jobs.nodes[jobs._keepers["words-1"]].jobs == ["words-1"]


@pytest.mark.parametrize("goes_on", [False, True])
async def test_a_member_that_meets_too_few_others_ends_no_submission_while_one_may_come_back(
    jobs: Jobs, goes_on: bool
) -> None:
    """The others pause, so it cannot tell who coordinates."""
    jobs._timeout_s = 2 * PAUSE_S
    first, *others = [jobs.nodes[address] for address in jobs.directory.addresses()]
    stopped_by(jobs, first, "PutBundle", PAUSE_S if goes_on else LONG_S)
    for node in others:
        node.refusal = QuorumNotReached("a read of a register needs 2 owners, 1 answered", outcome="failed")
    async with asyncio.timeout(PATIENCE_S):
        if goes_on:
            assert await jobs.hand_over(BUNDLE, SPEC) == "words-1"
            assert first.jobs == ["words-1"]
        else:
            first.on_call = nothing
            jobs.silence(first)
            with pytest.raises(QuorumNotReached, match="needs 2 owners") as refused:
                await jobs.hand_over(BUNDLE, SPEC)
            assert refused.value.outcome == "failed"


async def test_who_is_silent_is_told_when_the_deadline_is_over(jobs: Jobs) -> None:
    jobs._timeout_s = 0.4
    for node in some(jobs):
        stopped_by(jobs, node, "Submit", PAUSE_S)
        node.refusal = DeadlineExceeded("no answer", outcome="unknown")
    with pytest.raises(DeadlineExceeded, match="job words-1 may have been accepted") as lost:
        await jobs.hand_over(BUNDLE, SPEC)
    assert lost.value.outcome == "unknown"
    assert {node.asked.count("Submit") for node in some(jobs)} == {1}


@pytest.mark.parametrize(("name", "outcome"), [("PutBundle", "failed"), ("Submit", "unknown")])
async def test_a_refusal_beside_a_silent_member_leaves_open_what_that_one_did(
    jobs: Jobs, name: str, outcome: str
) -> None:
    first, second, *_ = [jobs.nodes[address] for address in jobs.directory.addresses()]
    stopped_by(jobs, first, name, LONG_S)
    second.refusal = InvalidArgument("no such input")
    with pytest.raises(InvalidArgument) as refused:
        async with asyncio.timeout(PATIENCE_S):
            await jobs.hand_over(BUNDLE, SPEC)
    assert refused.value.outcome == outcome


@pytest.mark.parametrize(("name", "outcome"), [("PutBundle", "failed"), ("Submit", "unknown")])
async def test_a_client_that_is_closed_meanwhile_says_so(
    jobs: Jobs, name: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringmill.client.jobs.asking.submission.ANSWERS_WITHIN_S", LONG_S)
    for node in some(jobs):
        stopped_by(jobs, node, name, LONG_S)
    handing = asyncio.create_task(jobs.hand_over(BUNDLE, SPEC))
    await asyncio.sleep(PAUSE_S)
    await jobs.directory.close()
    with pytest.raises(ClientClosed) as closed:
        async with asyncio.timeout(PATIENCE_S):
            await handing
    assert closed.value.outcome == outcome


async def test_a_bug_is_told_as_itself(jobs: Jobs) -> None:
    async def broken(name: str) -> None:
        raise ZeroDivisionError

    for node in some(jobs):
        node.on_call = broken
    with pytest.raises(ZeroDivisionError):
        await jobs.hand_over(BUNDLE, SPEC)
