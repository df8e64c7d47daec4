"""Commands about all keys of a database.  They take longer the more keys there are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import syntax_error, waiting_command
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply
from ringmill.client.gateway.redis.protocol.reply_sizes import reply_size, too_large
from ringmill.client.gateway.redis.store.database import Database
from ringmill.client.gateway.redis.store.typed_values import Entry

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []


@waiting_command("SCAN", -2, "readonly")
async def _scan(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Some names of keys, and a cursor for the next ones."""
    cursor = one_integer(args[0], "ERR invalid cursor", 0)
    pattern, count, type_wanted = None, 10, None
    for at in range(1, len(args), 2):
        word = args[at].upper()
        if at + 1 == len(args):
            raise syntax_error()
        if word == b"MATCH":
            pattern = args[at + 1]
        elif word == b"COUNT":
            count = one_integer(args[at + 1])
            if count < 1:
                raise syntax_error()
        elif word == b"TYPE":
            type_wanted = args[at + 1].lower()
        else:
            raise syntax_error()
    number, names = await connection.database.scan(cursor, pattern, count, type_wanted)
    return [b"%d" % number, list(names)]


@waiting_command("KEYS", 2, "readonly")
async def _keys(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The names of all keys that a pattern matches."""
    names: list[Reply] = []
    size, most = 0, connection.door.limits.most_answer_bytes
    with closing(connection.room.gather(0)) as gathered:
        async for page in connection.database.all_keys(args[0]):
            names += page
            of_page = reply_size(list(page))
            size += of_page
            gathered.hold(of_page)
            if size > most:
                raise too_large(size, most)
            connection.tell_growth()
    return names


@waiting_command("DBSIZE", 1, "readonly")
async def _dbsize(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """How many keys have a value: each is read."""
    count = 0
    async for page in connection.database.all_keys():
        count += len(page)
    return count


@waiting_command("RANDOMKEY", 1, "readonly")
async def _randomkey(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The name of a key: the first that a scan finds."""
    async for page in connection.database.all_keys():
        if page:
            return page[0]
    return None


@waiting_command("FLUSHDB", -1, "write")
async def _flushdb(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Remove all keys of the database, each by itself; one that is made meanwhile may stay."""
    _check_flush(args)
    await _flush(connection.database)
    return OK


@waiting_command("FLUSHALL", -1, "write")
async def _flushall(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Remove all keys of all databases whose keyspaces exist; one that is made meanwhile may stay."""
    _check_flush(args)
    for database in await connection.door.databases.existing(connection.token):
        await _flush(database)
    return OK


def _check_flush(args: Sequence[bytes]) -> None:
    if len(args) > 1 or (args and args[0].upper() not in (b"ASYNC", b"SYNC")):
        raise syntax_error()


async def _flush(database: Database) -> None:
    async for page in database.all_keys():
        for reply in await database.keys.ask_each(page, _remove):
            if isinstance(reply, RedisError):
                raise reply


def _remove(entry: Entry, _now_ms: int) -> Reply:
    if entry.value is not None:
        entry.replace(None)
    return OK
