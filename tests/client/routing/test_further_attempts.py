"""Requests under way at a node that falls silent or whose connection breaks, with links of both kinds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.routing.attempts import Attempts, AwaitedAttempt
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import GET, PUT, TOPOLOGY, Abandon, Link
from ringmill.client.values import Receipt
from ringmill.cluster.errors import (
    DeadlineExceeded,
    Overloaded,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.overload.budget import MAX_FURTHER
from ringmill.cluster.silence import SilenceWatch
from tests.client.routing.conftest import ImpatientLoop
from tests.client.routing.test_router import KEY, FakeCluster
from tests.client.routing.test_window import SendingCluster, client_of

CLUSTERS = pytest.mark.parametrize("made", [FakeCluster, SendingCluster])
LONG_S = 60.0
"""A deadline that no test waits for."""


def broken() -> Unavailable:
    return Unavailable("the stream broke", outcome="unknown")


def no_link(address: str) -> Link:
    raise AssertionError(f"nothing is sent to {address}")


Put: TypeAlias = Callable[[AsyncKeyspace], Awaitable[Receipt]]


async def put_one(db: AsyncKeyspace) -> Receipt:
    return await db.put(KEY, b"Ada")


async def put_in_a_batch(db: AsyncKeyspace) -> Receipt:
    (outcome,) = await db.mput([(KEY, b"Ada")])
    if isinstance(outcome, RingmillError):
        raise outcome
    return outcome


WAYS = pytest.mark.parametrize("put", [put_one, put_in_a_batch])


@CLUSTERS
@WAYS
async def test_a_write_at_a_node_that_falls_silent_goes_to_the_next_owner_under_its_name(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 2):
        await put(db)
        first, second, _ = cluster.owners(KEY)
        first.is_silent = True
        await put(db)
        assert first.asked[-2:] == ["Put", "Get"] and second.asked[-1] == "Put"
        await put(db)
        assert first.asked.count("Put") == 2  # it is asked last now
    assert [write.attempt for write in cluster.writes] == [0, 1, 0]
    assert [write.operation.sequence for write in cluster.writes] == [1, 2, 3]
    assert {write.operation.session for write in cluster.writes} == {cluster.writes[0].operation.session}


@CLUSTERS
async def test_a_read_at_a_node_that_falls_silent_goes_to_the_next_owner(made: type[FakeCluster]) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 5):
        await db.put(KEY, b"Ada")
        cluster.owners(KEY)[0].is_silent = True
        assert (await db.get(KEY)).value == b"Ada"
        (item,) = await db.mget([KEY])
    assert cluster.owners(KEY)[1].asked[-2:] == ["Get", "Get"] and not isinstance(item, RingmillError)


@CLUSTERS
@WAYS
async def test_a_write_whose_connection_breaks_is_sent_again_as_a_further_attempt(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db:
        first, second, _ = cluster.owners(KEY)
        first.refusals.append(broken())
        await put(db)
    assert second.asked[-1] == "Put"
    assert [write.attempt for write in cluster.writes] == [1]


@CLUSTERS
@WAYS
async def test_a_silent_node_that_answers_first_after_all_has_answered(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 2):
        first, second, third = cluster.owners(KEY)
        second.stuck = third.stuck = [PUT]
        await put(db)
        first.delay_s = 1.0
        await put(db)
    assert second.asked.count("Put") == 1
    assert [write.attempt for write in cluster.writes] == [0, 0]


@CLUSTERS
@WAYS
async def test_a_silent_node_s_answer_counts_more_than_another_s_doubt(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 2):
        first, second, _ = cluster.owners(KEY)
        await put(db)
        first.delay_s = 1.0
        second.refusals.append(DeadlineExceeded("an earlier one may have been applied", outcome="unknown"))
        await put(db)
    assert second.asked.count("Put") == 1 and len(cluster.writes) == 2


@CLUSTERS
@WAYS
async def test_an_answer_does_not_wait_for_a_question_to_another_node(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 10):
        await put(db)
        first, *_ = cluster.owners(KEY)
        for node in cluster.nodes.values():
            node.is_silent = node is not first
        first.stuck, first.delay_s = [TOPOLOGY], 2.0
        await put(db)
    assert [write.attempt for write in cluster.writes] == [0, 0]


@CLUSTERS
@WAYS
async def test_a_silent_node_whose_connection_breaks_costs_no_third_attempt(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 2):
        await put(db)
        first, second, third = cluster.owners(KEY)
        first.delay_s, first.refusals = 0.4, [broken()]
        second.delay_s, second.prompt = 1.0, [TOPOLOGY]
        await put(db)
        assert not first.refusals  # its connection broke while the second one was under way
    assert "Put" not in third.asked
    assert [write.attempt for write in cluster.writes] == [0, 1]


@CLUSTERS
@WAYS
async def test_the_node_that_refused_the_row_is_asked_for_the_topology_not_the_one_asked_last(
    made: type[FakeCluster], put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, refreshed = made(), list[str]()

    async def refresh(directory: Directory, address: str, timeout_s: float) -> None:
        refreshed.append(address)

    monkeypatch.setattr(Directory, "refresh", refresh)
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 2):
        await put(db)
        first, second, _ = cluster.owners(KEY)
        first.delay_s, first.refusals = 0.4, [WrongEpoch("an old row")]
        second.delay_s, second.prompt = 1.0, [TOPOLOGY]
        await put(db)
    assert refreshed == [first.address]


async def test_an_attempt_that_a_stranger_cancels_leaves_no_request_without_an_end() -> None:
    cluster = FakeCluster()
    async with client_of(cluster, timeout_s=LONG_S) as db, asyncio.timeout(LONG_S / 2):
        await db.put(KEY, b"Ada")
        cluster.owners(KEY)[0].stuck = [PUT]
        writing = asyncio.create_task(db.put(KEY, b"Bob"))
        await asyncio.sleep(0.01)
        (attempt,) = (task for task in asyncio.all_tasks() if task.get_name() == "client-attempt")
        attempt.cancel()
        await writing
    assert [write.attempt for write in cluster.writes] == [0, 1]


@CLUSTERS
@WAYS
async def test_a_node_that_answers_questions_is_slow_and_not_silent(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster, timeout_s=0.8) as db:
        first, *others = cluster.owners(KEY)
        first.stuck = [PUT]
        with pytest.raises(DeadlineExceeded) as late:
            await put(db)
    assert late.value.outcome == "unknown"
    assert not any("Put" in other.asked for other in others)


@CLUSTERS
@WAYS
async def test_what_may_have_been_done_stays_unknown_though_the_others_refuse(
    made: type[FakeCluster], put: Put
) -> None:
    cluster = made()
    async with client_of(cluster) as db:
        first, *_ = cluster.owners(KEY)
        first.refusals.append(broken())
        for node in cluster.nodes.values():
            node.is_listening = node is first
        first.refusals += [Overloaded("busy", detail={"retry_after": 0.0}) for _ in range(9)]
        with pytest.raises(Unavailable, match="the stream broke") as told:
            await put(db)
    assert told.value.outcome == "unknown"
    assert told.value.detail["tried"][0] == first.address and len(told.value.detail["tried"]) > 1


@CLUSTERS
@WAYS
async def test_what_no_node_has_done_counts_as_no_attempt(made: type[FakeCluster], put: Put) -> None:
    cluster = made()
    async with client_of(cluster) as db:
        cluster.owners(KEY)[0].refusals.append(Overloaded("busy", detail={"retry_after": 0.0}))
        await put(db)
    assert [write.attempt for write in cluster.writes] == [0]


async def test_an_answer_that_comes_before_the_caller_hears_of_the_silence_counts() -> None:
    silent = Unavailable("n1 is silent", outcome="unknown")
    watch = SilenceWatch(Directory(["n1"], no_link))
    first = AwaitedAttempt(watch, "n1", 0.0, math.inf, 1.0)
    first.silent(silent)
    first.ended(b"after all")
    attempts = await first.outcome
    assert isinstance(attempts, Attempts), "it is no answer yet"
    assert attempts.tried == ["n1"] and not attempts.are_under_way
    assert [(await attempts.news())[1] for _ in range(2)] == [silent, b"after all"]


async def test_a_caller_that_gives_up_has_its_request_taken_back() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=LONG_S) as db:
        await put_one(db)
        sent, taken_back = asyncio.Event(), list[str]()

        def send(*_: object) -> Abandon:
            sent.set()
            return lambda: taken_back.append("once")

        for node in cluster.nodes.values():
            node.send = send  # type: ignore[attr-defined]
        putting = asyncio.create_task(put_one(db))
        await sent.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert taken_back == ["once"]


@CLUSTERS
@WAYS
async def test_further_attempts_are_bounded(made: type[FakeCluster], put: Put) -> None:
    cluster = made()
    async with client_of(cluster) as db:
        for node in cluster.nodes.values():
            node.refusals = [broken() for _ in range(9)]
        with pytest.raises(Unavailable) as told:
            await put(db)
        assert told.value.outcome == "unknown"
        with pytest.raises(Unavailable):
            await db.get(KEY)
    asked = [each for node in cluster.nodes.values() for each in node.asked]
    assert asked.count("Put") == 1 + MAX_FURTHER


async def test_a_client_that_was_held_up_itself_does_not_call_a_node_silent() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=LONG_S) as db:
        await db.put(KEY, b"Ada")
        first, second, _ = cluster.owners(KEY)
        first.stuck = [GET]
        reading = asyncio.create_task(db.get(KEY))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ImpatientLoop)
        loop.stand_still(0.5)
        first.stuck = []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not second.asked
        reading.cancel()
