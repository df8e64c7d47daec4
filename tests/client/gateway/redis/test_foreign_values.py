"""A register that something else has written is a key of its own kind: it is in the way of no other key."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest

from ringmill.client.gateway.redis.commands.database_commands import _remove
from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.client.gateway.redis.store.database import _type_of
from ringmill.client.gateway.redis.store.key_queues import KeyQueues, reply_of
from ringmill.client.gateway.redis.store.typed_values import Entry, SortedSet
from ringmill.cluster.adapters.system_clock import SystemClock
from tests.client.gateway.redis.redis_world import Registers, Spoken, lending, redis_door

FOREIGN = [
    b"", b"plain text", b"\xc1", b"42", msgpack.packb(["s", "soon", b"v"]), msgpack.packb(["s", None, b"v"]),
    msgpack.packb(["s", [1], b"v"]), msgpack.packb(["s", -5, b"v"]),
    msgpack.packb(["x", 0, b"v"]), msgpack.packb({"a": 1}),
    msgpack.packb(["t", 0, [[1]]]), msgpack.packb(["t", 0, [b"a", "text"]]), msgpack.packb(["l", 0, [None]]),
    msgpack.packb(["h", 0, {1: 2}]), msgpack.packb(["h", 0, {b"a": 2}]), msgpack.packb(["h", 0, {"a": b"2"}]),
    msgpack.packb(["z", 0, {b"a": b"1"}]), msgpack.packb(["z", 0, {1: 1.0}]),
]  # fmt: skip

REFUSED = [
    (b"SUNIONSTORE", b"k", b"absent"), (b"ZUNIONSTORE", b"k", b"1", b"own"),
    (b"COPY", b"own", b"k", b"REPLACE"), (b"BITOP", b"NOT", b"k", b"text"),
    (b"ZRANGESTORE", b"k", b"own", b"0", b"-1"),
    (b"MSET", b"k", b"v"), (b"SETEX", b"k", b"9", b"v"), (b"PSETEX", b"k", b"9", b"v"),
    (b"EXPIRE", b"k", b"-1"), (b"PEXPIREAT", b"k", b"1"), (b"DELEX", b"k"),
    (b"OBJECT", b"ENCODING", b"k"), (b"OBJECT", b"IDLETIME", b"k"), (b"OBJECT", b"REFCOUNT", b"k"),
]  # fmt: skip


@pytest.mark.parametrize("stored", FOREIGN)
async def test_it_can_be_looked_for_removed_and_replaced(stored: bytes) -> None:
    registers = Registers()
    async with redis_door(registers) as (_, connect):
        caller: Spoken = await connect()
        registers.values[b"k"] = (stored, 1)
        registers.hold(b"own", SortedSet({b"m": 1.0}))
        registers.hold(b"text", b"v")
        assert await caller.ask(b"TYPE", b"k") == b"+foreign"
        assert await caller.ask(b"EXISTS", b"k") == b":1"
        assert await caller.ask(b"TTL", b"k") == b":-1"
        for words in (
            (b"GET", b"k"),
            (b"HGETALL", b"k"),
            (b"INCR", b"k"),
            (b"EXPIRE", b"k", b"9"),
            (b"COPY", b"k", b"l"),
            *REFUSED,
        ):
            assert (await caller.ask(*words)).startswith(b"-WRONGTYPE no gateway for Redis has written")
        assert await caller.ask(b"EXISTS", b"l") == b":0"
        assert await caller.ask(b"COPY", b"own", b"k") == b":0"
        assert await caller.ask(b"EXPIRE", b"k", b"-1", b"XX") == b":0"
        assert await caller.ask(b"PERSIST", b"k") == b":0"
        assert registers.values[b"k"] == (stored, 1)
        assert await caller.ask(b"SETNX", b"k", b"v") == b":0"
        assert await caller.ask(b"SET", b"k", b"v", b"NX") == b"$-1"
        assert (await caller.ask(b"MGET", b"k"), await caller.heard()) == (b"*1", b"$-1")
        assert await caller.ask(b"DEL", b"k") == b":1"
        assert await caller.ask(b"EXISTS", b"k") == b":0"
        registers.values[b"k"] = (stored, 1)
        assert await caller.ask(b"UNLINK", b"k") == b":1"
        registers.values[b"k"] = (stored, 1)
        assert await caller.ask(b"SET", b"k", b"v", b"EX", b"60") == b"+OK"
        assert await caller.ask(b"TTL", b"k") == b":60"


async def test_the_keys_beside_it_are_scanned_and_flushed_with_it() -> None:
    registers = Registers()
    registers.values[b"foreign"] = (b"plain text", 1)
    registers.hold(b"own", b"v")
    queues = KeyQueues(lambda: lending(registers), "db", has_token=False, timeout_s=20.0, clock=SystemClock())
    keys = [b"foreign", b"own", b"none"]
    assert await queues.ask_each(keys, _type_of) == ["foreign", "string", "none"]
    assert not [told for told in await queues.ask_each(keys, _remove) if isinstance(told, RedisError)]
    assert {value for value, _ in registers.values.values()} == {None}


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.expire(9),
        lambda entry: entry.get(dict),
        lambda entry: entry.set(b"v"),
        lambda entry: entry.set(None),
    ],
)
def test_what_cannot_be_done_changes_nothing(change: Callable[[Entry], object]) -> None:
    entry = Entry.decode(b"plain text", 0)
    assert isinstance(reply_of(lambda entry, _: change(entry), entry, 0), RedisError)  # type: ignore[arg-type,return-value]
    assert not entry.is_changed and entry.encode() == b"plain text"


def test_a_transaction_sees_that_it_has_changed() -> None:
    held = Entry.decode(b"plain text", 0).digest()
    assert held == Entry.decode(b"plain text", 0).digest()
    assert held not in (Entry.decode(b"other text", 0).digest(), Entry(b"plain text").digest())
