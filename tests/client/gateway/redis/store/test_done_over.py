"""A change that is done over after a conflict has its effect once, with those of its batch."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.gateway.redis.commands.arguments.counted_keys import store_value
from ringmill.client.gateway.redis.commands.command_spec import COMMANDS
from ringmill.client.gateway.redis.commands.command_table import load_commands
from ringmill.client.gateway.redis.protocol.replies import Reply
from ringmill.client.gateway.redis.serving.answer_room import AnswerRoom
from ringmill.client.gateway.redis.serving.redis_limits import RedisLimits
from ringmill.client.gateway.redis.store.key_queues import Change, KeyQueues
from ringmill.client.gateway.redis.store.typed_values import Entry
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Conflict
from tests.client.gateway.redis.redis_world import Registers, lending


class Contended(Registers):
    """Somebody else is faster the first time."""

    has_lost = False

    async def cas(self, key: bytes, value: bytes | None, *, timeout: float, **expected: Any) -> int:
        if not self.has_lost:
            self.has_lost = True
            raise Conflict("the register holds something else")
        return await super().cas(key, value, timeout=timeout, **expected)


def count(entry: Entry, _now_ms: int) -> Reply:
    fields = entry.get_or_new(dict)
    fields[b"n"] = b"%d" % (int(fields[b"n"]) + 1)
    entry.set(fields)
    return fields[b"n"]


class CountedBeside:
    """Queues in which each change of `into` has a count behind it in its batch."""

    def __init__(self, queues: KeyQueues) -> None:
        self.queues = queues

    async def ask(self, key: bytes, change: Change) -> Reply:
        told = self.queues.ask(key, change)
        if key == b"into":
            assert await self.queues.ask(key, count) == b"1"
        return await told


async def copied(connection: Any) -> Reply:
    load_commands()
    run = COMMANDS[b"COPY"].waiting
    assert run is not None
    return await run(connection, [b"from", b"into"])


async def put(connection: Any) -> Reply:
    return await store_value(connection, b"into", {b"n": b"0"})


@pytest.mark.parametrize("store", [copied, put])
async def test_what_is_stored_is_not_altered_by_a_try_that_has_failed(
    store: Callable[[Any], Coroutine[Any, Any, Reply]],
) -> None:
    registers = Contended()
    registers.hold(b"from", {b"n": b"0"})
    queues = KeyQueues(lambda: lending(registers), "db", has_token=False, timeout_s=20.0, clock=SystemClock())
    database = SimpleNamespace(keys=CountedBeside(queues))
    databases = SimpleNamespace(database=lambda token, number: database)
    door, room = SimpleNamespace(databases=databases), AnswerRoom(RedisLimits(), lambda: 0)
    await store(SimpleNamespace(number=0, token="", database=database, door=door, room=room))
    assert registers.has_lost
    assert Entry.decode(registers.values[b"into"][0], 0).value == {b"n": b"1"}
