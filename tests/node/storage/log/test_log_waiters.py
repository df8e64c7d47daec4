"""Those that wait for the log without a task are told once, and what they make of it is not the log's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.errors import Unavailable
from ringmill.node.storage.engine import Batch, Commit, Engine
from ringmill.simulator.disk import lossy
from ringmill.simulator.disk.engine_trace import TINY
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


async def test_a_sync_that_leaves_turns_to_others_takes_along_what_they_add(open_engine: OpenEngine) -> None:
    engine = await open_engine(replace(TINY, sync_turns=6))
    await apply(engine, b"first").synced()
    syncs, first = engine.stats().log_syncs, apply(engine, b"a")
    first.tell_synced(lambda _: None)
    await asyncio.sleep(0)
    second = apply(engine, b"b")
    await second.synced()
    assert first.is_synced
    assert engine.stats().log_syncs == syncs + 1


async def test_what_is_handed_to_the_system_in_those_turns_is_synced_all_the_same(
    open_engine: OpenEngine,
) -> None:
    engine = await open_engine(replace(TINY, sync_turns=6))
    await apply(engine, b"first").synced()
    commit = apply(engine, b"a")
    commit.tell_synced(lambda _: None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await commit.buffered()
    assert not commit.is_synced
    await commit.synced()


async def test_the_loop_waits_for_the_disk_only_where_a_request_does(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await open_engine()
    await apply(engine, b"first").synced()
    sync, places = lossy._LossyAppendFile.append_and_sync, list[bool]()

    async def noted(file: Any, data: bytes, *, off_loop: bool = False) -> None:
        places.append(off_loop)
        await sync(file, data, off_loop=off_loop)

    monkeypatch.setattr(lossy._LossyAppendFile, "append_and_sync", noted)
    await apply(engine, b"a").synced(is_urgent=False)
    await apply(engine, b"b").synced()
    idle = asyncio.ensure_future(apply(engine, b"c").synced(is_urgent=False))
    apply(engine, b"d").tell_synced(lambda _: None)
    await idle
    await apply(engine, b"e").synced(is_urgent=False)
    assert places == [True, False, False, True]
