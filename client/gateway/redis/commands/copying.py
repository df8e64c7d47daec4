"""COPY: one key is read, and another one is set in a second step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import closing
from copy import copy
from typing import TYPE_CHECKING

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error, waiting_command
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size
from ringmill.client.gateway.redis.store.typed_values import Entry

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []


@waiting_command("COPY", -3, "write denyoom", keys=(1, 2, 1))
async def _copy(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Set a key to what another one holds, expiry included, in a second step."""
    number, replaces, words = connection.number, False, deque(args[2:])
    while words:
        word = words.popleft().upper()
        if word == b"REPLACE":
            replaces = True
        elif word == b"DB" and words:
            number = one_integer(words.popleft())
        else:
            raise syntax_error()
    if args[0] == args[1] and number == connection.number:
        raise RedisError("ERR source and destination objects are the same")
    source = Entry()

    def read(entry: Entry, _now_ms: int) -> Reply:
        entry.check_own()
        source.value, source.expires_at_ms = copy(entry.value), entry.expires_at_ms
        return int(entry.value is not None)

    def change(entry: Entry, _now_ms: int) -> Reply:
        if entry.value is not None and not replaces:
            return 0
        entry.set(copy(source.value))  # it may be done over, and later changes of a batch alter it in place
        entry.expire(source.expires_at_ms)
        return 1

    into = connection.door.databases.database(connection.token, number)
    with closing(connection.room.gather(1)) as gathered:
        found = await connection.database.keys.ask(args[0], read)
        if found != 1:
            return found
        gathered.hold(reply_size(source.value))  # type: ignore[arg-type]  # its values are replies, too
        return await into.keys.ask(args[1], change)
