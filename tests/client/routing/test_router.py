"""Where requests go, told with nodes that answer, refuse, fall silent or come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from ringmill.client.kv import AsyncKeyspace
from ringmill.client.operations import OperationNames
from ringmill.client.routing import directory
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import GET, TOPOLOGY, Link, Method
from ringmill.client.routing.router import Router
from ringmill.client.values import EMPTY, CausalContext
from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
    WrongEpoch,
)
from ringmill.cluster.ids import ClusterId, DiskId, Epoch, NodeId
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.wire.stubs import kv_pb2, topology_pb2

Answer = TypeVar("Answer", bound=Message)
KEY = b"user:42"


class SteadyEntropy:
    def random_bytes(self, purpose: str, size: int) -> bytes:
        return bytes(range(1, size + 1))

    def uniform(self, purpose: str) -> float:
        return 0.5


class FakeNode:
    """One node: keeps one value a key, and misbehaves as it is told."""

    def __init__(self, address: str, cluster: FakeCluster) -> None:
        self.address = address
        self.cluster = cluster
        self.is_listening = True
        self.is_silent = False
        self.stuck: list[Method[Message]] = []  # these it never answers, all others it does
        self.delay_s = 0.0
        self.prompt: list[Method[Message]] = []  # these have no delay
        self.refusals: list[RingmillError] = []
        self.asked: list[str] = []

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        if not self.is_listening:
            raise Unavailable(f"{self.address}: connection refused", outcome="failed")
        self.asked.append(method.path.rpartition("/")[2])
        if self.is_silent or method in self.stuck:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded(f"{self.address} did not answer in {timeout_s} s", outcome="unknown")
        delay_s = 0 if method in self.prompt else self.delay_s
        await asyncio.sleep(min(delay_s, timeout_s))
        if delay_s > timeout_s:
            raise DeadlineExceeded(f"{self.address} did not answer in {timeout_s} s", outcome="unknown")
        if self.refusals and method is not TOPOLOGY:
            raise self.refusals.pop(0)
        answer = self.cluster.answer(request)
        assert isinstance(answer, method.answer)
        return answer

    async def close(self) -> None:
        self.is_listening = False


class FakeCluster:
    """Five nodes over one store; its topology can move on."""

    def __init__(self) -> None:
        members = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, 6)]
        self.topology = first_topology("test", members, partitions=16)
        self.nodes = {member.address: FakeNode(member.address, self) for member in members}
        self.values: dict[bytes, bytes] = {}
        self.hot: set[bytes] = set()
        self.answers_under = 0
        self.reachable = 0  # the newest epoch that nodes can fetch of each other
        self.writes: list[kv_pb2.PutRequest] = []

    def dial(self, address: str) -> Link:
        return self.nodes.get(address) or FakeNode(address, self)

    def owners(self, key: bytes) -> list[FakeNode]:
        partition = self.topology.partition_of(self.topology.keyspace_named("default").id, key)
        addresses = self.topology.addresses()
        return [self.nodes[addresses[node]] for node in self.topology.owners(partition)]

    def answer(self, request: Message) -> Message:
        if isinstance(request, kv_pb2.PutRequest | kv_pb2.GetRequest):
            if request.epoch > max(self.topology.epoch, self.reachable):
                raise Unavailable(f"no member answered with topology epoch {request.epoch}", outcome="failed")
            self.topology.keyspace_named(request.keyspace or "default")
        match request:
            case topology_pb2.GetTopologyRequest():
                known = request.known_epoch >= self.topology.epoch
                document = b"" if known else self.topology.encode()
                return topology_pb2.GetTopologyResponse(
                    epoch=self.topology.epoch, document=document, cluster=self.topology.cluster
                )
            case kv_pb2.PutRequest():
                copy = kv_pb2.PutRequest()
                copy.CopyFrom(request)
                self.writes.append(copy)
                self.values[request.key] = request.value
                return kv_pb2.WriteReceipt(dot="n1#1:1", context=b"c", w=2, hybrid_time=77)
            case kv_pb2.GetRequest():
                value = self.values.get(request.key)
                siblings = [kv_pb2.Sibling(value=value, dot="n1#1:1")] if value is not None else []
                is_hot = request.key in self.hot
                return kv_pb2.GetResponse(
                    siblings=siblings, context=b"c", hybrid_time=88, hot=is_hot, epoch=self.answers_under
                )
        raise AssertionError(request)


@asynccontextmanager
async def client_of(
    cluster: FakeCluster, *, endpoints: list[str] | None = None, timeout_s: float = 0.4
) -> AsyncIterator[AsyncKeyspace]:
    entropy = SteadyEntropy()
    async with Directory(endpoints or list(cluster.nodes)[:1], cluster.dial) as directory:
        await directory.learn(timeout_s)
        yield AsyncKeyspace(
            "default", Router(directory, entropy, timeout_s), OperationNames(entropy, directory)
        )


async def test_a_key_is_asked_of_its_first_owner() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        assert (await db.get("user:42")).value == b"Ada"
    assert cluster.owners(KEY)[0].asked[-2:] == ["Put", "Get"]


async def test_whoever_was_answered_under_a_newer_epoch_asks_under_it_from_then_on() -> None:
    """A node with an older topology may know another keyspace by the name (rule J25)."""
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        cluster.answers_under = cluster.reachable = 5
        await db.get(KEY)
        await db.put(KEY, b"Bob")
    assert [write.epoch for write in cluster.writes] == [cluster.topology.epoch, 5]


async def test_an_epoch_that_its_teller_cannot_show_is_dropped() -> None:
    """No node could answer by it, so one wrong answer would stop the client."""
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        cluster.answers_under = 2**63
        await db.get(KEY)
        cluster.answers_under = 0
        await asyncio.sleep(0.02)
        await db.put(KEY, b"Bob")
        assert (await db.get(KEY)).siblings == (b"Bob",)
    assert [write.epoch for write in cluster.writes] == [cluster.topology.epoch] * 2


async def test_an_epoch_is_dropped_when_its_teller_is_gone_and_nobody_else_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(directory, "PROOF_TIMEOUT_S", 0.1)
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        cluster.answers_under = 2**63
        teller = cluster.owners(KEY)[0]
        await db.get(KEY)
        teller.is_listening = False
        await asyncio.sleep(0.3)
        await db.put(KEY, b"Bob")
    assert cluster.writes[-1].epoch == cluster.topology.epoch


async def test_a_node_of_another_cluster_at_an_owners_address_is_not_asked() -> None:
    cluster, other = FakeCluster(), FakeCluster()
    other.topology = replace(other.topology, cluster=ClusterId("other"), epoch=Epoch(7))
    first, second = cluster.owners(KEY)[:2]
    cluster.nodes[first.address] = FakeNode(first.address, other)
    async with client_of(cluster, endpoints=[second.address]) as db:
        await db.put(KEY, b"Ada")
        assert (await db.get(KEY)).value == b"Ada"
    assert len(cluster.writes) == 1 and not other.writes
    assert cluster.nodes[first.address].asked == ["Get"]  # its topology


async def test_a_client_goes_over_to_the_cluster_that_goes_on_from_its_own_and_to_no_earlier_one() -> None:
    """Also past a recovery that it has not heard of (rule T9)."""
    cluster = FakeCluster()
    before = cluster.topology
    async with client_of(cluster) as db:
        await db.put(KEY, b"Ada")
        once = recovered(before, [NodeId("n1"), NodeId("n2"), NodeId("n3")])
        cluster.topology = recovered(once, [*once.addresses()][:4])
        directory = db._router.directory
        await directory.catch_up(cluster.topology.epoch, 1.0)
        assert directory.topology == cluster.topology
        await db.put(KEY, b"Bob")
        assert cluster.writes[-1].epoch == cluster.topology.epoch
        for each in (before.cluster, once.cluster):
            with pytest.raises(Unavailable, match="at a:1 is a node of cluster"):
                directory.check_cluster(each, "a:1")


async def test_a_session_may_begin_with_a_node_of_the_cluster_that_goes_on_from_ours() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        directory, ours = db._router.directory, cluster.topology.cluster
        directory.check_cluster("c" * 32, "a:1", ("b" * 32, ours))
        with pytest.raises(Unavailable, match="at a:1 is a node of cluster"):
            directory.check_cluster("c" * 32, "a:1", ("b" * 32,))


async def test_whoever_meets_nodes_of_no_cluster_is_told_how_to_form_one() -> None:
    cluster = FakeCluster()
    cluster.topology = replace(cluster.topology, epoch=Epoch(0))
    with pytest.raises(Unavailable, match="belongs to no cluster yet") as unformed:
        async with client_of(cluster):
            pass
    assert "cluster form --endpoints" in unformed.value.hint


async def test_one_living_endpoint_is_enough_and_the_dead_ones_are_named_when_there_is_none() -> None:
    cluster = FakeCluster()
    addresses = list(cluster.nodes)
    for node in list(cluster.nodes.values())[:4]:
        node.is_listening = False
    async with client_of(cluster, endpoints=addresses) as db:
        await db.put(KEY, b"1")
    with pytest.raises(Unavailable, match=r"none of 2 endpoints.*7101.*7102"):
        async with client_of(cluster, endpoints=addresses[:2]):
            pass


def test_a_reason_that_several_endpoints_share_is_reported_once() -> None:
    refused = {
        "a:1": "a:1 cannot be reached: refused",
        "b:1": "b:1 cannot be reached: refused",
        "c:1": "full",
    }
    error = directory.none_reachable(["a:1", "b:1", "c:1", "d:1"], refused)
    told = "each of a:1, b:1 cannot be reached: refused; c:1: full; d:1: no answer"
    assert error.message == f"none of 4 endpoints answered ({told})"
    assert error.detail["failed"] == {**refused, "d:1": "no answer"}


async def test_a_silent_endpoint_does_not_hold_up_connecting() -> None:
    cluster = FakeCluster()
    addresses = list(cluster.nodes)
    cluster.nodes[addresses[0]].is_silent = True
    async with asyncio.timeout(10), client_of(cluster, endpoints=addresses[:2], timeout_s=60) as db:
        await db.put(KEY, b"1")
    assert [write.value for write in cluster.writes] == [b"1"]


async def test_a_write_to_a_dead_owner_goes_to_the_next_one() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        cluster.owners(KEY)[0].is_listening = False
        await db.put(KEY, b"Ada")
    assert cluster.owners(KEY)[1].asked[-1] == "Put"
    assert len(cluster.writes) == 1


async def test_a_write_finds_out_that_an_owner_is_silent_before_it_is_sent() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        first, second, _ = cluster.owners(KEY)
        first.is_silent = True
        await db.put(KEY, b"Ada")
    assert "Put" not in first.asked and second.asked[-1] == "Put"
    assert len(cluster.writes) == 1


async def test_a_write_that_a_node_takes_for_late_goes_to_the_next_one_and_nobody_is_blamed() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        first, second, _ = cluster.owners(KEY)
        refused = DeadlineExceeded.on_arrival("reached n1 after its deadline")
        refused.was_told = True
        first.refusals.append(refused)
        await db.put(KEY, b"Ada")
        assert second.asked[-1] == "Put"
        assert len(cluster.writes) == 1
        await db.put(KEY, b"Bea")
        assert first.asked[-1] == "Put"


async def test_a_write_that_a_node_leaves_open_is_not_sent_again_and_says_unknown() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        first, *others = cluster.owners(KEY)
        first.refusals.append(QuorumNotReached.of("put", 2, ["n1"], {"n2": "down"}, outcome="unknown"))
        with pytest.raises(QuorumNotReached) as caught:
            await db.put(KEY, b"Ada")
        assert caught.value.outcome == "unknown"
        assert caught.value.detail["tried"] == [first.address]
    assert cluster.writes == []
    assert not any("Put" in other.asked for other in others)


async def test_a_read_leaves_an_owner_that_is_stuck_after_a_quarter_of_the_deadline() -> None:
    cluster = FakeCluster()
    loop = asyncio.get_running_loop()
    async with client_of(cluster, timeout_s=1.2) as db:
        await db.put(KEY, b"Ada")
        cluster.owners(KEY)[0].stuck = [GET]
        begun = loop.time()
        assert (await db.get(KEY)).value == b"Ada"
        assert loop.time() - begun >= 0.29
        assert cluster.owners(KEY)[1].asked[-1] == "Get"
        await db.put(KEY, b"Bob")  # the one that was stuck is asked last now, so no write waits for it
        assert cluster.owners(KEY)[1].asked[-1] == "Put"


async def test_a_warm_write_does_not_wait_for_a_node_that_fell_silent_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ringmill.client.routing.directory.PROOF_AGE_S", 0.05)
    cluster = FakeCluster()
    async with client_of(cluster, timeout_s=30) as db:
        await db.put(KEY, b"1")
        first, second, _ = cluster.owners(KEY)
        first.is_silent = True
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await db.put(KEY, b"2")
    assert first.asked.count("Put") == 1 and second.asked[-1] == "Put"


async def test_many_writes_ask_one_question_of_a_node_that_was_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringmill.client.routing.directory.PROOF_AGE_S", 0.05)
    cluster = FakeCluster()
    async with client_of(cluster, timeout_s=30) as db:
        first = cluster.owners(KEY)[0]
        await db.put(KEY, b"1")
        await asyncio.sleep(0.1)
        before = first.asked.count("Get")
        await asyncio.gather(*(db.put(KEY, b"2") for _ in range(50)))
    assert first.asked.count("Get") == before + 1


async def test_a_cluster_that_is_slow_everywhere_still_takes_writes() -> None:
    cluster = FakeCluster()
    async with client_of(cluster, timeout_s=8) as db:
        for node in cluster.nodes.values():
            node.delay_s = 0.4
        await db.put(KEY, b"1")
    assert len(cluster.writes) == 1


async def test_a_node_that_answers_a_probe_is_asked_first_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringmill.client.routing.directory.PROBE_EVERY_S", 0.01)
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        first = cluster.owners(KEY)[0]
        first.is_listening = False
        await db.put(KEY, b"1")
        first.is_listening = True
        async with asyncio.timeout(5):
            while first.asked[-1:] != ["Put"]:
                await db.put(KEY, b"2")
                await asyncio.sleep(0.01)


async def test_a_newer_topology_is_pulled_from_the_node_that_refused() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        owner = cluster.owners(KEY)[0]
        cluster.topology = _moved_on(cluster.topology)
        owner.refusals.append(WrongEpoch("row is at 2", detail={"epoch": 2}))
        await db.put(KEY, b"1")
    assert [write.epoch for write in cluster.writes] == [2]


async def test_a_quorum_that_was_missed_is_raised_at_once() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        owner = cluster.owners(KEY)[0]
        owner.refusals.append(QuorumNotReached.of("get", 2, ["n1"], {"n2": "down"}, outcome="failed"))
        with pytest.raises(QuorumNotReached) as caught:
            await db.get(KEY)
        assert caught.value.acked == ["n1"]
        assert owner.asked.count("Get") == 1


async def test_an_overloaded_cluster_sees_two_retries_at_most() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        for node in cluster.nodes.values():
            node.refusals = [Overloaded("busy", detail={"retry_after": 0.0}) for _ in range(9)]
        with pytest.raises(Overloaded):
            await db.put(KEY, b"1")
    assert sum(node.asked.count("Put") for node in cluster.nodes.values()) == 3


async def test_each_write_has_a_name_of_its_own_born_at_the_newest_time_seen() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        await db.put(KEY, b"1")
        await db.put(KEY, b"2")
        await db.get(KEY)
        await db.put(KEY, b"3")
    names = [(write.operation.sequence, write.operation.birth) for write in cluster.writes]
    assert names == [(1, 0), (2, 77), (3, 88)]
    assert len({write.operation.session for write in cluster.writes}) == 1
    assert all(write.attempt == 0 for write in cluster.writes)


async def test_contexts_travel_as_they_were_handed_out() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        receipt = await db.put(KEY, b"1", context=EMPTY)
        await db.put(KEY, b"2", context=receipt.context)
        await db.put(KEY, b"3")
    sent = [(write.no_context, write.context) for write in cluster.writes]
    assert sent == [(True, b""), (False, b"c"), (False, b"")]
    assert receipt.context is not None and CausalContext.parse(receipt.context.text) == receipt.context


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (lambda db: db.put("", b"v"), "empty"),
        (lambda db: db.put("k" * 1025, b"v"), "1025 bytes, the limit is 1024"),
        (lambda db: db.put("k", bytes(2**20 + 1)), "value has 1048577 bytes"),
        (lambda db: db.put("k", "text"), "value is of type str; it must be bytes"),
        (lambda db: db.put("k", b"v", w=0), "w is 0"),
        (lambda db: db.put("k", b"v", ttl=0), "ttl is 0"),
        (lambda db: db.get("k", r="most"), "r is 'most'"),
    ],
)
async def test_bad_arguments_are_reported_before_anything_is_sent(
    bad: Callable[[AsyncKeyspace], object], told: str
) -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        asked = [list(node.asked) for node in cluster.nodes.values()]
        with pytest.raises(InvalidArgument, match=told):
            await bad(db)  # type: ignore[misc]
        assert [node.asked for node in cluster.nodes.values()] == asked


async def test_an_absent_key_is_an_error_or_the_default() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        assert await db.get("nope", default=None) is None
        with pytest.raises(NotFound, match="nope"):
            await db.get("nope")


async def test_the_users_own_exceptions_pass_through_as_themselves() -> None:
    with pytest.raises(ZeroDivisionError):
        async with client_of(FakeCluster()):
            raise ZeroDivisionError


def _moved_on(topology: Topology) -> Topology:
    from dataclasses import replace

    return replace(topology, epoch=Epoch(2))


async def test_a_keyspace_that_was_made_meanwhile_is_served_and_learned() -> None:
    cluster = FakeCluster()
    async with client_of(cluster) as db:
        router: Router = db._router
        new = AsyncKeyspace("new", router, db._operations)
        with pytest.raises(InvalidArgument, match="no keyspace 'new'"):
            await new.get("a")
        made = created(cluster.topology, NewKeyspace("new"))
        assert made is not None
        cluster.topology = made
        await new.put("a", b"1")
        assert (await new.get("a")).value == b"1"
        async with asyncio.timeout(10):
            while router.directory.epoch < 2:  # noqa: ASYNC110 - asked for beside the request
                await asyncio.sleep(0)
