"""MULTI, EXEC and WATCH: transactions of commands on one key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringmill.client.gateway.redis.commands.command_spec import for_connection, waiting_command
from ringmill.client.gateway.redis.commands.connections.queued_commands import QueuedCommands, WatchedKey
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply
from ringmill.client.gateway.redis.store.typed_values import Entry

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []


@for_connection("MULTI", 1, "fast")
def _multi(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Queue the commands that follow, all of them on one key."""
    if connection.queued is not None:
        raise RedisError("ERR MULTI calls can not be nested")
    connection.queued = QueuedCommands(connection.database, connection.watched, connection.room)
    return OK


@waiting_command("EXEC", -1)
async def _exec(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Do the queued commands as one change of their key, unless what WATCH saw has changed."""
    queued = connection.queued
    if args:
        connection.queued = connection.watched = None
        raise RedisError(
            "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
        )
    if queued is None:
        raise RedisError("ERR EXEC without MULTI")
    connection.queued = connection.watched = None
    if queued.refused:
        raise RedisError(queued.refused)
    if queued.key is None:
        return queued(Entry(), 0)
    connection.executed = queued
    try:
        return await connection.database.keys.ask(queued.key, queued)
    finally:
        connection.executed = None


@for_connection("DISCARD", 1, "fast")
def _discard(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Forget the queued commands, and what WATCH saw."""
    if connection.queued is None:
        raise RedisError("ERR DISCARD without MULTI")
    connection.queued = connection.watched = None
    return OK


@waiting_command("WATCH", -2, "fast", keys=(1, -1, 1))
async def _watch(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Have EXEC do nothing if the key holds something else by then."""
    if connection.queued is not None:
        raise RedisError("ERR WATCH inside MULTI is not allowed")
    present, database = connection.watched, connection.database
    if {present.key if present else args[0], *args} != {args[0]}:
        raise RedisError("ERR WATCH of several keys is not offered: a transaction is of commands on one key")
    if present is None:
        watched = WatchedKey(database, args[0])
        reply = await database.keys.ask(args[0], watched.note)
        if isinstance(reply, RedisError):
            raise reply
        connection.watched = watched
    return OK


@for_connection("UNWATCH", 1, "fast")
def _unwatch(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Forget what WATCH saw."""
    connection.watched = None
    return OK
