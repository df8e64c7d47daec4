"""Commands that read several keys and put what they make of them under another one.

The sources are read one by one, and the result is put in a second step: what changes between is not seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from copy import copy
from typing import TYPE_CHECKING, Any

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply
from ringmill.client.gateway.redis.store.key_queues import Change
from ringmill.client.gateway.redis.store.typed_values import Entry, RedisValue

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__ = ["counted_keys", "counted_keys_with_limit", "read_one_by_one", "store_value"]


def counted_keys(args: Sequence[bytes], command: str = "") -> tuple[Sequence[bytes], Sequence[bytes]]:
    """The keys whose number is said before them, and what follows.  Raises RedisError."""
    count = one_integer(args[0], "ERR numkeys should be greater than 0")
    if count < 1:
        shown = f"at least 1 input key is needed for '{command}' command"
        raise RedisError(f"ERR {shown}" if command else "ERR numkeys should be greater than 0")
    if count > len(args) - 1:
        if command:
            raise syntax_error()
        raise RedisError("ERR Number of keys can't be greater than number of args")
    return args[1 : count + 1], args[count + 1 :]


def counted_keys_with_limit(args: Sequence[bytes]) -> tuple[Sequence[bytes], int]:
    """The keys, and the number behind LIMIT, 0 for none.  Raises RedisError."""
    keys, rest = counted_keys(args)
    if not rest:
        return keys, 0
    if len(rest) != 2 or rest[0].upper() != b"LIMIT":
        raise syntax_error()
    return keys, one_integer(rest[1], "ERR LIMIT can't be negative", 0)


@asynccontextmanager
async def read_one_by_one(
    connection: RedisConnection, keys: Sequence[bytes], read: Change
) -> AsyncIterator[list[Any]]:
    """What `read` makes of each key; it is counted as held until the block ends.

    Raises RedisError, the first one, also when it is too much.
    """
    asking, turns = connection.database.keys.ask, connection.turns
    with closing(connection.room.gather(len(keys))) as gathered:
        replies = await asyncio.gather(*(asking(key, gathered.bounded(read), turns) for key in keys))
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        yield replies


async def store_value(connection: RedisConnection, key: bytes, value: RedisValue) -> Reply:
    """Put a value under a key, or remove it when the value is empty, and return its length."""

    def change(entry: Entry, _now_ms: int) -> Reply:
        if entry.value is not None or value:
            entry.set(copy(value) or None)  # it may be done over, and later changes of a batch alter it
            entry.expires_at_ms = 0
        return len(value)

    return await connection.database.keys.ask(key, change)
