"""A watch over nodes that answer, refuse and die: one cursor, whoever holds the poll."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import TypeVar

import pytest
from google.protobuf.message import Message

from ringmill.client.operations import OperationNames
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import Method
from ringmill.client.routing.router import Router
from ringmill.client.values import CausalContext, KeyChange, PrefixChange
from ringmill.client.watches.prefix_watching import _PrefixPolls, prefix_changes_of
from ringmill.client.watches.watching import changes_of
from ringmill.cluster.errors import ClientClosed, InvalidArgument, Overloaded, QuorumNotReached, Unavailable
from ringmill.cluster.ids import Actor, DiskId, KeyspaceId, NodeId
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.versions.context_token import NO_SECRET, ContextToken
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.wire.stubs import kv_pb2
from ringmill.cluster.wire.token_text import parsed_token, token_text
from ringmill.cluster.wire.watch_cursor import WatchCursor, encode_watch_cursor

Answer = TypeVar("Answer", bound=Message)
Behaviour = Callable[[kv_pb2.WatchKeyRequest], Awaitable[kv_pb2.WatchKeyResponse]]
HOME, KEY = KeyspaceId(1, 0), b"k"


class SteadyEntropy:
    def random_bytes(self, purpose: str, size: int) -> bytes:
        return bytes(size)

    def uniform(self, purpose: str) -> float:
        return 0.0


class FakeLink:
    """A node that is polled, and does what the test says."""

    def __init__(self, behave: Behaviour, asked: list[bytes]) -> None:
        self._behave = behave
        self._asked = asked

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        if not isinstance(request, kv_pb2.WatchKeyRequest):
            raise Unavailable("it answers watches only", outcome="failed")
        self._asked.append(request.after)
        answer = await self._behave(request)
        assert isinstance(answer, method.answer)
        return answer

    async def close(self) -> None:
        """Nothing is held."""


def token(**counts: int) -> bytes:
    vector = VersionVector.of((Actor(f"{node}#1"), count) for node, count in counts.items())
    return NO_SECRET.token(ContextToken(vector, HybridTime(1)), HOME, KEY)


def found(value: bytes | None, **counts: int) -> kv_pb2.WatchKeyResponse:
    siblings = [] if value is None else [kv_pb2.Sibling(value=value, dot="n1#1:1")]
    return kv_pb2.WatchKeyResponse(found=kv_pb2.GetResponse(siblings=siblings, context=token(**counts)))


def counts_of(change: KeyChange) -> dict[str, int]:
    return {
        str(actor): count for actor, count in NO_SECRET.open(change.context.token, HOME, KEY).vector.entries
    }


def watched(
    nodes: dict[str, Behaviour], wanted: int, after: CausalContext | None = None, patience_s: float = 60.0
) -> tuple[list[KeyChange], list[bytes]]:
    """The first changes, and the cursors that nodes were asked with."""
    asked: list[bytes] = []

    async def story() -> list[KeyChange]:
        directory = Directory(list(nodes), lambda address: FakeLink(nodes[address], asked))
        changes: list[KeyChange] = []
        async with directory:
            router = Router(directory, SteadyEntropy(), 5.0)
            async for change in changes_of(router, "default", KEY, after, None, patience_s):
                changes.append(change)
                if len(changes) == wanted:
                    break
        return changes

    return asyncio.run(story()), asked


def answers(*told: kv_pb2.WatchKeyResponse | Exception) -> Behaviour:
    left = list(told)

    async def behave(request: kv_pb2.WatchKeyRequest) -> kv_pb2.WatchKeyResponse:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return behave


def test_a_watch_asks_under_the_newest_epoch_that_it_was_told_under() -> None:
    """As the rest of its client does from then on (rules T5 and J25)."""
    epochs: list[int] = []

    async def node(request: kv_pb2.WatchKeyRequest) -> kv_pb2.WatchKeyResponse:
        epochs.append(request.epoch)
        answer = found(b"1", n1=len(epochs))
        answer.found.epoch = 7
        return answer

    watched({"a:1": node}, 2)
    assert epochs == [0, 7]


def test_each_poll_goes_on_where_the_last_change_was() -> None:
    nothing = kv_pb2.WatchKeyResponse()
    node = answers(found(b"1", n1=1), nothing, found(None, n1=2), found(b"3", n1=3))
    changes, asked = watched({"a:1": node}, 3)
    assert [change.item and change.item.siblings for change in changes] == [(b"1",), None, (b"3",)]
    assert [change.is_deleted for change in changes] == [False, True, False]
    assert asked == [b"", token(n1=1), token(n1=1), token(n1=2)]
    assert changes[1].to_dict()["deleted"] is True


def test_another_node_goes_on_with_the_cursor_of_one_that_died() -> None:
    died = Unavailable("connection reset", outcome="unknown")
    nodes = {"a:1": answers(found(b"1", n1=1), died), "b:1": answers(found(b"2", n1=2))}
    changes, asked = watched(nodes, 2)
    assert [counts_of(change) for change in changes] == [{"n1#1": 1}, {"n1#1": 2}]
    assert asked == [b"", token(n1=1), token(n1=1)]


def test_what_a_change_lacks_of_the_cursor_was_deleted_and_forgotten_and_is_not_waited_for() -> None:
    """A node tells of nothing that lacks what the cursor covers, but for what no owner has any more."""
    node = answers(found(b"1", n1=1), found(b"2", n1=2))
    changes, asked = watched({"a:1": node}, 2, CausalContext(token(n2=5)))
    assert [counts_of(change) for change in changes] == [{"n1#1": 1}, {"n1#1": 2}]
    assert asked == [token(n2=5), token(n1=1)]


def test_it_ends_with_the_last_error_once_nobody_has_served_it_for_long() -> None:
    async def refuse(request: kv_pb2.WatchKeyRequest) -> kv_pb2.WatchKeyResponse:
        raise Overloaded("2048 watches wait on this node, the limit is 2048")

    with pytest.raises(Overloaded, match="the limit is 2048"):
        watched({"a:1": refuse}, 1, patience_s=0.05)


def test_nodes_that_answer_and_cannot_read_the_key_use_up_the_patience() -> None:
    """Until one reads it again: then the patience begins anew."""
    short = QuorumNotReached.of("get", 2, ["n1"], {"n2": "no answer"}, outcome="failed")

    async def refuse(request: kv_pb2.WatchKeyRequest) -> kv_pb2.WatchKeyResponse:
        raise short

    with pytest.raises(QuorumNotReached):
        watched({"a:1": refuse, "b:1": refuse}, 1, patience_s=0.05)
    node = answers(short, kv_pb2.WatchKeyResponse(), short, found(b"1", n1=1))
    changes, _ = watched({"a:1": node}, 1)
    assert counts_of(changes[0]) == {"n1#1": 1}


def test_a_mistake_ends_it_at_once() -> None:
    with pytest.raises(InvalidArgument, match="no such keyspace") as refusal:
        watched({"a:1": answers(InvalidArgument("no such keyspace"))}, 1)
    assert refusal.value.detail["address"] == "a:1", "so that a command tells it from a mistake of its own"
    with pytest.raises(InvalidArgument):
        watched({"a:1": answers()}, 1, patience_s=-1)


def test_a_closed_client_ends_it() -> None:
    async def story() -> None:
        async def wait(request: kv_pb2.WatchKeyRequest) -> kv_pb2.WatchKeyResponse:
            await directory.close()
            raise Unavailable("closed", outcome="unknown")

        directory = Directory(["a:1"], lambda _: FakeLink(wait, []))
        changes = changes_of(Router(directory, SteadyEntropy(), 5.0), "default", KEY, None, None, 60.0)
        with pytest.raises(ClientClosed):
            await anext(changes)

    asyncio.run(story())


class PrefixLink:
    """A node whose polls of a prefix have these answers, and then none."""

    def __init__(self, *told: kv_pb2.WatchPrefixResponse) -> None:
        self._told = list(told)

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        if not isinstance(request, kv_pb2.WatchPrefixRequest):
            raise Unavailable("it answers watches only", outcome="failed")
        if not self._told:
            await asyncio.sleep(600)
        answer = self._told.pop(0)
        assert isinstance(answer, method.answer)
        return answer

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("from_now", [True, False])
def test_a_watch_from_now_tells_where_it_began_though_nothing_has_changed(from_now: bool) -> None:
    opened: list[str] = []

    async def story() -> None:
        link = PrefixLink(kv_pb2.WatchPrefixResponse(cursor=b"now", unscanned=b"unscanned"))
        async with Directory(["a:1"], lambda _: link) as directory:
            router = Router(directory, SteadyEntropy(), 5.0)
            changes = prefix_changes_of(
                router, OperationNames(SteadyEntropy(), router.directory), "default", b"p",
                after=None, from_now=from_now, r=None, patience=60.0, opened=opened.append,
            )  # fmt: skip
            following = asyncio.ensure_future(anext(changes))
            async with asyncio.timeout(10):
                while link._told or (from_now and not opened):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    asyncio.run(story())
    assert opened == ([token_text(b"now")] if from_now else [])


def place(number: int, *, is_owed: bool = False) -> bytes:
    return encode_watch_cursor(WatchCursor(HOME, b"p", is_owed, {"n1": (b"feed", number)}))


def heard(number: int, *keys: bytes, is_lost: bool = False) -> kv_pb2.WatchPrefixResponse:
    owed = place(number, is_owed=True) if is_lost else b""
    return kv_pb2.WatchPrefixResponse(keys=keys, cursor=place(number), unscanned=owed)


class LongLook:
    """Three keys, and a watcher that is due to ask for changes whenever it has told of one of them."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *told: kv_pb2.WatchPrefixResponse | Exception
    ) -> None:
        self.polls: list[bytes] = []
        self.versions = dict.fromkeys([b"p1", b"p2", b"p3"], 1)
        self.looks = 0
        self._told = list(told)

        async def pages(polls: object, **how: bool) -> AsyncIterator[Sequence[bytes]]:
            self.looks += 1
            yield [*self.versions]

        async def read(polls: object, key: bytes) -> PrefixChange:
            return PrefixChange(key, None, CausalContext(b"%d" % self.versions[key]))

        monkeypatch.setattr(_PrefixPolls, "_pages", pages)
        monkeypatch.setattr(_PrefixPolls, "_read", read)
        monkeypatch.setattr("ringmill.client.watches.prefix_watching._MEANWHILE_S", 0.0)

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        assert isinstance(request, kv_pb2.WatchPrefixRequest)
        self.polls.append(request.cursor)
        answer = self._told.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, method.answer)
        return answer

    async def close(self) -> None:
        """Nothing is held."""

    async def watch(self, wanted: int) -> list[tuple[bytes, int, bytes]]:
        """Key, version and cursor of the first changes.  Once the first was told, p1 and p3 change."""
        found: list[tuple[bytes, int, bytes]] = []
        async with Directory(["a:1"], lambda _: self) as directory:
            router = Router(directory, SteadyEntropy(), 5.0)
            async for change in prefix_changes_of(
                router, OperationNames(SteadyEntropy(), directory), "default", b"p",
                after=token_text(place(0)), from_now=False, r=None, patience=60.0,
            ):  # fmt: skip
                found.append((change.key, int(change.context.token), parsed_token(change.cursor)))
                self.versions.update({b"p1": 2, b"p3": 2})
                if len(found) == wanted:
                    break
        return found


def test_places_go_on_while_all_keys_are_looked_at_and_news_are_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the feeds end, or go on without it, and it begins again: for as long as a look takes so long."""
    look = LongLook(monkeypatch, heard(1, is_lost=True), heard(2, b"p1", b"p3"), heard(3))
    found = asyncio.run(look.watch(4))
    assert found == [
        (b"p1", 1, place(1, is_owed=True)),
        (b"p1", 2, place(3, is_owed=True)),
        (b"p3", 2, place(3, is_owed=True)),  # and not 1 after it
        (b"p2", 1, place(3, is_owed=True)),
    ]
    assert look.polls == [place(0), place(1), place(2)]
    assert look.looks == 1


def test_a_place_that_is_lost_during_a_look_costs_another_one_from_where_it_was_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = QuorumNotReached.of("watch", 2, ["n1"], {"n2": "no answer"}, outcome="failed")
    look = LongLook(monkeypatch, heard(1, is_lost=True), heard(7, is_lost=True), short, heard(8), heard(9))
    found = asyncio.run(look.watch(5))
    assert [each[:2] for each in found] == [(b"p1", 1), (b"p2", 1), (b"p3", 1), (b"p1", 2), (b"p3", 2)]
    assert [each[2] for each in found] == [place(number, is_owed=True) for number in (1, 7, 7, 8, 9)]
    assert look.polls == [place(0), place(1), place(7), place(7), place(8)]
    assert look.looks == 2


class SeededEntropy(SteadyEntropy):
    def __init__(self) -> None:
        self._random = Random(7)

    def random_bytes(self, purpose: str, size: int) -> bytes:
        return self._random.randbytes(size)


class FullLink:
    """A node that takes a poll of a prefix, and holds it; or refuses it, as others have its room."""

    def __init__(self, address: str, polls: list[str], *, is_full: bool) -> None:
        self._address = address
        self._polls = polls
        self._is_full = is_full

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        self._polls.append(self._address)
        if self._is_full:
            raise Overloaded("2048 watches wait on this node, the limit is 2048")
        answer = kv_pb2.WatchPrefixResponse(cursor=place(0))
        assert isinstance(answer, method.answer)
        return answer

    async def close(self) -> None:
        """Nothing is held."""


def test_watches_of_prefixes_begin_at_different_members_and_stay_where_they_are_taken() -> None:
    """Each at the first member, it held all of them; and a refusal there came before each poll."""
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i}" * 32), f"h:{i}") for i in range(1, 6)]
    full, polls = {"h:1", "h:2", "h:3"}, list[str]()
    first, later = Counter[str](), list[list[str]]()

    async def story() -> None:
        links = {f"h:{i}": FullLink(f"h:{i}", polls, is_full=f"h:{i}" in full) for i in range(1, 6)}
        async with Directory(["h:1"], links.__getitem__) as directory:
            directory.topology = first_topology("t", members, partitions=16, n=3, r=2, w=2)
            entropy = SeededEntropy()
            router = Router(directory, entropy, 5.0)
            for number in range(40):
                watch = _PrefixPolls(
                    router, OperationNames(entropy, directory), "", b"p%d" % number, None, 60.0
                )
                polls.clear()
                await watch._polling.insist(partial(watch._poll, b""))
                first[polls[0]] += 1
                polls.clear()
                for _ in range(3):
                    await watch._polling.insist(partial(watch._poll, place(0)))
                later.append([*polls])

    asyncio.run(story())
    assert len(first) == 5 and max(first.values()) <= 16
    assert all(len(each) == 3 and len({*each}) == 1 for each in later)
    assert {node for each in later for node in each} == {"h:4", "h:5"}
