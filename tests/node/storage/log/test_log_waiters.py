"""Those that wait for the log without a task are told once, and what they make of it is not the log's."""

from __future__ import annotations

import asyncio

from ringmill.cluster.errors import Unavailable
from ringmill.node.storage.engine import Batch, Commit, Engine
from tests.node.storage.conftest import OpenEngine


def apply(engine: Engine, key: bytes) -> Commit:
    batch = Batch()
    batch.put(key, b"value")
    return engine.apply(batch)


async def test_a_waiter_is_told_when_its_batch_is_held_and_at_once_when_it_is(
    open_engine: OpenEngine,
) -> None:
    engine, told = await open_engine(), list[object]()
    commit = apply(engine, b"a")
    commit.tell_buffered(told.append)
    commit.tell_synced(told.append)
    await commit.synced()
    await asyncio.sleep(0)
    assert told == [None, None]
    commit.tell_synced(told.append)
    assert told == [None, None, None]


async def test_a_waiter_that_fails_is_reported_and_neither_the_log_nor_another_waiter_ends(
    open_engine: OpenEngine,
) -> None:
    engine, told, reported = await open_engine(), list[object](), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail(_: object) -> None:
        raise Unavailable("a room of the node was left")

    first = apply(engine, b"a")
    first.tell_synced(fail)
    first.tell_synced(told.append)
    await first.synced()
    await apply(engine, b"b").synced()
    assert told == [None]
    assert [type(each) for each in reported] == [Unavailable]
    assert engine.read_only_reason is None
