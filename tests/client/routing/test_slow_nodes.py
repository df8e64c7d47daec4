"""A read has all its time at its first node, and goes to another one besides when that is slow (D1)."""

from __future__ import annotations

import asyncio

import pytest

from ringmill.client.many_keys import raise_first
from ringmill.client.routing.attempts import Attempts
from ringmill.client.routing.links import GET, TOPOLOGY
from ringmill.cluster.errors import Overloaded, QuorumNotReached
from tests.client.routing import test_router, test_window
from tests.client.routing.test_window import KEYS, SendingCluster, pairs


async def test_the_answer_of_a_slow_owner_counts_when_nobody_else_has_one() -> None:
    """It takes longer than a quarter of the deadline, and the others do not answer at all."""
    cluster = test_router.FakeCluster()
    async with test_router.client_of(cluster, timeout_s=2.0) as db:
        await db.put(test_router.KEY, b"Ada")
        first = cluster.owners(test_router.KEY)[0]
        for node in cluster.nodes.values():
            node.prompt = [TOPOLOGY]
            node.stuck = [GET]
        first.stuck, first.delay_s = [], 0.6
        assert (await db.get(test_router.KEY)).value == b"Ada"


async def test_a_batch_has_all_of_its_time_at_a_cluster_that_is_slow_as_a_whole() -> None:
    """Each read takes longer than a quarter of the deadline, and there are more of them than retries."""
    cluster = SendingCluster()
    async with test_window.client_of(cluster, timeout_s=2.0) as db:
        raise_first(await db.mput(pairs()))
        before = cluster.sent
        for node in cluster.nodes.values():
            node.delay_s, node.prompt = 0.6, [TOPOLOGY]
        found = raise_first(await db.mget(KEYS))
    assert [item and item.value for item in found] == [key.encode() for key in KEYS]
    retries = cluster.sent - before - len(KEYS)
    assert retries <= 10 + len(KEYS) // 5, "a tenth of the requests as ever, and what was saved"


async def test_the_coordinator_that_answers_says_at_the_end_who_did_not() -> None:
    """Though others that were asked besides do not answer at all, and their attempts end later."""
    cluster = test_router.FakeCluster()
    async with test_router.client_of(cluster, timeout_s=0.8) as db:
        await db.put(test_router.KEY, b"Ada")
        first = cluster.owners(test_router.KEY)[0]
        for node in cluster.nodes.values():
            node.is_silent = node is not first
        first.delay_s, first.prompt = 0.77, [TOPOLOGY]
        failed = {"n2": "no answer"}
        late = QuorumNotReached.of("get", 2, ["n1"], failed, outcome="failed", is_late=True)
        first.refusals = [late]
        with pytest.raises(QuorumNotReached, match="1 answered"):
            await db.get(test_router.KEY)


async def test_a_single_get_over_a_session_has_all_of_its_time() -> None:
    cluster = SendingCluster()
    async with test_window.client_of(cluster, timeout_s=2.0) as db:
        raise_first(await db.mput(pairs(8)))
        for node in cluster.nodes.values():
            node.delay_s, node.prompt = 0.6, [TOPOLOGY]
        found = await asyncio.gather(*(db.get(key) for key in KEYS[:8]))
    assert [item.value for item in found] == [key.encode() for key in KEYS[:8]]


async def test_a_slow_read_that_is_answered_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the breaker of a node that answers each read, though late, stays closed."""
    failed: list[str] = []
    cluster = SendingCluster()
    async with test_window.client_of(cluster, timeout_s=0.8) as db:
        raise_first(await db.mput(pairs(30)))
        monkeypatch.setattr(db._router.directory, "unwell", failed.append)
        for node in cluster.nodes.values():
            node.delay_s, node.prompt = 0.3, [TOPOLOGY]
        await asyncio.gather(*(db.get(key) for key in KEYS[:30]))
        assert not failed
        for _ in range(100):
            db._router.count()  # the reads above have used up what may be sent again
        stuck = cluster.owners(KEYS[0].encode())[0]
        stuck.stuck = [GET]
        for node in cluster.nodes.values():
            node.delay_s = 0.0
        await db.get(KEYS[0])
    assert failed == [stuck.address], "one that does not answer has"


async def test_a_retry_that_the_budget_refuses_is_none() -> None:
    cluster = SendingCluster()
    async with test_window.client_of(cluster, timeout_s=2.0) as db:
        router = db._router
        while router._retry_budget.spend():
            pass
        attempts = Attempts(2.0, asyncio.get_running_loop().time() + 2.0)
        for _ in range(3):
            assert not await router._may_go_on(Overloaded("full", outcome="failed"), GET, None, attempts)
        for _ in range(100):
            router.count()
        assert await router._may_go_on(Overloaded("full", outcome="failed"), GET, None, attempts)
