"""Batches with nodes that answer, refuse, fall silent or die: the outcome of each item, and what was sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from google.protobuf.message import Message

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.many_keys import raise_first
from ringmill.client.operations import OperationNames
from ringmill.client.routing.balancing import Balancer
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import GET, PUT, Abandon, Method
from ringmill.client.routing.router import Router
from ringmill.client.routing.window import (
    BEGUN_AT_ONCE,
    UNARY_AT_ONCE,
    WINDOW_BYTES,
    WINDOW_REQUESTS,
)
from ringmill.client.values import Item, Receipt
from ringmill.cluster import silence
from ringmill.cluster.errors import (
    ClientClosed,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ports import Ended
from tests.client.routing.test_router import FakeCluster, FakeNode, SteadyEntropy, _moved_on

KEYS = [f"user:{number}" for number in range(200)]


ANSWERING: set[asyncio.Task[None]] = set()


class SendingNode(FakeNode):
    """A node with a session."""

    sent = 0

    def send(self, method: Method[Message], request: Message, timeout_s: float, ended: Ended) -> Abandon:
        self.sent += 1
        copy = type(request).FromString(request.SerializeToString())
        work = asyncio.create_task(self._answer(method, copy, timeout_s, ended), name="node")
        ANSWERING.add(work)
        work.add_done_callback(ANSWERING.discard)
        return work.cancel

    async def _answer(
        self, method: Method[Message], request: Message, timeout_s: float, ended: Ended
    ) -> None:
        told: bytes | RingmillError
        try:
            told = (await self.call(method, request, timeout_s)).SerializeToString()
        except RingmillError as error:
            told = error
        ended(told)


class SendingCluster(FakeCluster):
    """Five nodes that have sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {address: SendingNode(address, self) for address in self.nodes}

    @property
    def sent(self) -> int:
        return sum(node.sent for node in self.nodes.values() if isinstance(node, SendingNode))


@asynccontextmanager
async def client_of(
    cluster: FakeCluster, *, timeout_s: float = 0.4, balancer: Balancer | None = None
) -> AsyncIterator[AsyncKeyspace]:
    entropy = SteadyEntropy()
    async with Directory(list(cluster.nodes)[:1], cluster.dial, balancer) as directory:
        await directory.learn(timeout_s)
        yield AsyncKeyspace(
            "default", Router(directory, entropy, timeout_s), OperationNames(entropy, directory)
        )


def pairs(count: int = len(KEYS)) -> Iterator[tuple[str, bytes]]:
    return ((key, key.encode()) for key in KEYS[:count])


async def some_turns() -> None:
    """Long enough for a window to fill, by the turns of the loop and not by a clock."""
    for _ in range(4 * WINDOW_REQUESTS // BEGUN_AT_ONCE):
        await asyncio.sleep(0)


def nobody_is_silent(patch: pytest.MonkeyPatch) -> None:
    """However long this process is held up, nothing is asked or sent twice for it."""
    patch.setattr(silence, "ASK_AFTER_S", 60.0)
    patch.setattr(silence, "SILENT_AFTER_S", 60.0)


def owned_by(cluster: FakeCluster, node: FakeNode) -> list[str]:
    return [key for key in KEYS if cluster.owners(key.encode())[0] is node]


async def test_outcomes_come_in_the_order_of_the_input_with_none_for_an_absent_key() -> None:
    async with client_of(SendingCluster()) as db:
        receipts = await db.mput(pairs())
        assert len(receipts) == len(KEYS) and all(isinstance(each, Receipt) for each in receipts)
        asked = [*reversed(KEYS), "nope", KEYS[3], KEYS[3]]
        found = await db.mget(asked)
        assert [one.value if isinstance(one, Item) else one for one in found] == [
            *(key.encode() for key in reversed(KEYS)), None, KEYS[3].encode(), KEYS[3].encode(),
        ]  # fmt: skip
        assert await db.mget([]) == [] and await db.mput({}) == []


async def test_each_item_goes_to_an_owner_of_its_key_once_with_a_name_of_its_own() -> None:
    cluster = SendingCluster()
    async with client_of(cluster) as db:
        raise_first(await db.mput(dict(pairs())))
        for node in cluster.nodes.values():
            assert node.asked.count("Put") == len(owned_by(cluster, node))
    assert len({write.operation.sequence for write in cluster.writes}) == len(KEYS)


async def test_items_that_are_answered_at_once_make_no_tasks() -> None:
    cluster = SendingCluster()
    async with client_of(cluster) as db:
        raise_first(await db.mput(pairs()))
        names = Counter[str]()
        make = asyncio.create_task

        def counted(work: object, *, name: str = "") -> asyncio.Task[None]:
            names[name] += 1
            return make(work, name=name)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "create_task", counted)
            raise_first(await db.mput(pairs()))
            batch = db.pipeline()
            await asyncio.gather(*[batch.get(key) for key in KEYS])
    assert names == {"node": 2 * len(KEYS)}


async def test_idle_nodes_are_asked_one_question_each_before_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=30) as db:
        raise_first(await db.mput(pairs()))
        monkeypatch.setattr("ringmill.client.routing.directory.PROOF_AGE_S", 60.0)
        db._router.directory._answered_at.clear()  # longer ago than that
        for node in cluster.nodes.values():
            node.asked.clear()
        raise_first(await db.mput(pairs()))
        assert all(node.asked[0] == "Get" and node.asked.count("Get") == 1 for node in cluster.nodes.values())


async def test_a_dead_node_costs_no_item_its_outcome() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=5) as db:
        raise_first(await db.mput(pairs()))
        cluster.owners(KEYS[0].encode())[0].is_listening = False
        raise_first(await db.mput(pairs()))
        found = raise_first(await db.mget(KEYS))
    assert [one.value for one in found if one] == [key.encode() for key in KEYS]
    assert Counter(write.key for write in cluster.writes) == {key.encode(): 2 for key in KEYS}


async def test_a_write_that_a_node_leaves_open_is_not_sent_again_and_the_others_are_told_as_usual() -> None:
    cluster = SendingCluster()
    async with client_of(cluster) as db:
        raise_first(await db.mput(pairs()))
        node = cluster.owners(KEYS[0].encode())[0]
        lost = owned_by(cluster, node)
        node.refusals = [QuorumNotReached.of("put", 2, [], {"n2": "down"}, outcome="unknown") for _ in lost]
        cluster.writes.clear()
        outcomes = await db.mput(pairs())
    for index, (key, outcome) in enumerate(zip(KEYS, outcomes, strict=True)):
        if key in lost:
            assert isinstance(outcome, QuorumNotReached) and outcome.outcome == "unknown"
            assert outcome.detail["tried"] == [node.address] and outcome.detail["index"] == index
        else:
            assert isinstance(outcome, Receipt)
    assert Counter(write.key.decode() for write in cluster.writes) == {k: 1 for k in KEYS if k not in lost}


async def test_reads_leave_a_node_that_is_stuck_and_writes_to_it_end_at_their_deadline() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=1.0) as db:
        raise_first(await db.mput(pairs()))
        node = cluster.owners(KEYS[0].encode())[0]
        node.stuck = [GET, PUT]
        mixed = await asyncio.gather(db.mget(KEYS[:8]), db.mput(pairs(8), timeout=0.3))
        assert all(isinstance(one, Item) for one in mixed[0])
        late = {key for key, one in zip(KEYS, mixed[1], strict=False) if isinstance(one, DeadlineExceeded)}
        assert late == set(owned_by(cluster, node)) & set(KEYS[:8])
        assert all(one.outcome == "unknown" for one in mixed[1] if isinstance(one, RingmillError))
        raise_first(await db.mput(pairs()))  # it is asked last now


async def test_a_stale_topology_and_an_overload_are_got_over_as_for_a_single_request() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=5) as db:
        raise_first(await db.mput(pairs(5)))
        first = cluster.owners(KEYS[0].encode())[0]
        cluster.topology = _moved_on(cluster.topology)
        first.refusals.append(WrongEpoch("row is at 2", detail={"epoch": 2}))
        first.refusals.append(Overloaded("busy", detail={"retry_after": 0.0}))
        raise_first(await db.mput(pairs()))
    assert cluster.writes[-1].epoch == 2


async def test_a_batch_waits_for_nodes_that_have_no_room_and_spends_no_retry_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[Router] = []

    def count(router: Router) -> None:
        counted.append(router)

    monkeypatch.setattr(Router, "count", count)
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=20) as db:
        raise_first(await db.mput(pairs()))
        for node in cluster.nodes.values():
            node.refusals += [Overloaded("busy", detail={"retry_after": 0.001}) for _ in range(30)]
        raise_first(await db.mput(pairs()))
    left = [len(node.refusals) for node in cluster.nodes.values()]
    assert sum(left) < 30 and 0 in left, "some breakers open, and then others have room first"
    assert len(counted) == 2 * len(KEYS)  # a tenth of a retry each, however often an item was put off


async def test_an_item_whose_first_node_was_lost_waits_for_the_others_to_have_room_too() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=20) as db:
        raise_first(await db.mput(pairs()))
        for node in cluster.nodes.values():
            node.refusals += [Unavailable("stopping", outcome="failed") for _ in range(20)]
            node.refusals += [Overloaded("busy", detail={"retry_after": 0.001}) for _ in range(100)]
        raise_first(await db.mput(pairs()))


async def test_whoever_would_wait_until_nearly_nothing_is_left_is_told_why_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SteadyEntropy, "uniform", lambda _self, _purpose: 0.0)
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=0.4) as db:
        for node in cluster.nodes.values():
            node.refusals += [Overloaded("busy", detail={"retry_after": 0.39}) for _ in range(9)]
        (told,) = await db.mget(KEYS[:1])
        assert isinstance(told, Overloaded)
    assert cluster.sent == 1


async def test_values_of_one_key_are_written_in_their_order_while_others_pass() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=5) as db:
        raise_first(await db.mput(pairs()))
        cluster.writes.clear()
        refused = cluster.owners(b"same")[0]
        refused.refusals.append(Overloaded("busy", detail={"retry_after": 0.01}))
        many = [("same", b"%d" % number) for number in range(5)]
        receipts = raise_first(await db.mput([*many, *pairs(50)]))
    assert len(receipts) == 55
    assert [write.value for write in cluster.writes if write.key == b"same"] == [b"%d" % n for n in range(5)]


async def test_a_pipeline_reads_its_own_writes() -> None:
    async with client_of(SendingCluster(), timeout_s=5) as db:
        async with db.pipeline() as batch:
            before, put = batch.get("k", None), batch.put("k", b"1")
            after, missing = batch.get("k"), batch.get("nope")
        assert before.result() is None and put.result().w == 2
        assert after.result().value == b"1"
        with pytest.raises(NotFound, match="nope"):
            missing.result()
        with pytest.raises(ClientClosed, match="this pipeline has ended"):
            batch.get("k")


async def test_an_exception_in_a_pipeline_cancels_what_has_not_ended_and_passes_as_itself() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=5) as db:
        for node in cluster.nodes.values():
            node.is_silent = True
        with pytest.raises(ZeroDivisionError):
            async with db.pipeline() as batch:
                left = batch.get("k")
                await asyncio.sleep(0.01)
                raise ZeroDivisionError
        assert left.cancelled()


@pytest.mark.parametrize("kind", [SendingCluster, FakeCluster])
async def test_what_is_under_way_is_bounded(kind: type[FakeCluster]) -> None:
    cluster = kind()
    under_way = most = 0
    async with client_of(cluster, timeout_s=30) as db:
        answer = FakeNode.call

        async def counted(
            self: FakeNode, method: Method[Message], request: Message, timeout_s: float
        ) -> Message:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            try:
                await some_turns()
                return await answer(self, method, request, timeout_s)
            finally:
                under_way -= 1

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FakeNode, "call", counted)
            nobody_is_silent(patch)
            found = raise_first(await db.mget(f"k{number}" for number in range(3 * WINDOW_REQUESTS)))
            assert found == [None] * len(found)
            limit = WINDOW_REQUESTS if kind is SendingCluster else UNARY_AT_ONCE
            assert limit // 2 < most <= limit
            most = 0
            large = bytes(2**20)
            raise_first(await db.mput((f"k{number}", large) for number in range(12)))
            assert most <= WINDOW_BYTES // 2**20 + len(cluster.nodes)


async def test_bad_input_is_reported_with_its_index_before_anything_is_sent() -> None:
    cluster = SendingCluster()
    async with client_of(cluster) as db:
        for bad, told in (
            (db.mput([("k", b"v"), ("k", bytes(2**20 + 1))]), r"pairs\[1\]: value has 1048577 bytes"),
            (db.mput([("k", b"v")] * 700 + [("", b"v")]), r"pairs\[700\]: key is empty"),
            (db.mput([("k", b"v"), "kv"]), r"pairs\[1\]: it is of type str, and must be \(key, value\)"),  # type: ignore[list-item]
            (db.mget(["k", 3]), r"keys\[1\]: key is of type int"),  # type: ignore[list-item]
            (db.mget("abc"), "keys is of type str; it must be a list of keys"),
        ):
            with pytest.raises(InvalidArgument, match=told):
                await bad
    assert cluster.sent == 0


async def test_closing_tells_each_item_what_is_known_of_it_and_a_closed_client_refuses() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=0.5) as db:
        raise_first(await db.mput(pairs()))
        for node in cluster.nodes.values():
            node.is_silent = True
        under_way = asyncio.create_task(db.mput(pairs()))
        waiting = asyncio.create_task(db.mget(f"k{number}" for number in range(2 * WINDOW_REQUESTS)))
        await some_turns()
    async with asyncio.timeout(10):
        await under_way
        assert {type(one) for one in await waiting} == {ClientClosed, DeadlineExceeded}
    with pytest.raises(ClientClosed):
        await db.mget(["k"])
    with pytest.raises(ClientClosed):
        db.pipeline().put("k", b"v")


async def test_cancelling_a_batch_ends_it() -> None:
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=5) as db:
        cluster.owners(KEYS[0].encode())[0].is_silent = True
        batch = asyncio.create_task(db.mget(KEYS))
        await asyncio.sleep(0.01)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        for task in list(ANSWERING):
            task.cancel()


async def test_reads_that_did_not_leave_in_time_are_all_sent_elsewhere() -> None:
    """This process was held up between asking and sending, for longer than an attempt may take."""
    cluster = SendingCluster()
    async with client_of(cluster, timeout_s=8.0) as db:
        raise_first(await db.mput(pairs()))
        first = cluster.owners(KEYS[0].encode())[0]
        kept = owned_by(cluster, first)
        assert len(kept) > 20, "more than there are retries"
        first.refusals = [DeadlineExceeded("was not sent", outcome="failed") for _ in kept]
        found = raise_first(await db.mget(kept))
    assert [item and item.value for item in found] == [key.encode() for key in kept]
