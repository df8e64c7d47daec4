"""Commands about the connection: who the caller is, which database and version of the protocol it wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import for_connection, syntax_error, waiting_command
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__ = ["SERVER_VERSION"]

SERVER_VERSION: Final = "7.2.0"
"""The version of the Redis whose commands and replies these are.  Callers decide by it what they may send."""
_ENCODING: Final = "utf-8"


@for_connection("PING", -1, "fast")
def _ping(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Answer PONG, or the argument."""
    if len(args) > 1:
        raise RedisError("ERR wrong number of arguments for 'ping' command")
    return args[0] if args else "PONG"


@for_connection("ECHO", 2, "fast")
def _echo(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Answer the argument."""
    return args[0]


@waiting_command("QUIT", -1, "fast no_auth")
async def _quit(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Close the connection, after an answer."""
    connection.quit()
    return OK


@waiting_command("RESET", 1, "fast no_auth")
async def _reset(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Forget what the connection has chosen: token, database, name, version of the protocol."""
    connection.choose(token="", number=0)
    connection.name, connection.version = b"", 2
    connection.queued = connection.watched = None
    connection.flags.clear()
    connection.reply_mode.choose(b"ON")
    return "RESET"


@for_connection("SELECT", 2, "fast")
def _select(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Go on in another database, by its number."""
    connection.choose(number=one_integer(args[0], "ERR invalid DB index"))
    return OK


@waiting_command("AUTH", -2, "fast no_auth")
async def _auth(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Show a token of the cluster; a user's name before it means nothing."""
    if len(args) > 2:
        raise syntax_error()
    await _take_token(connection, args[-1])
    return OK


@waiting_command("HELLO", -1, "fast no_auth")
async def _hello(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Choose the version of the protocol; show a token, and give the connection a name, if wanted."""
    version, name = connection.version, connection.name
    if args:
        version = one_integer(args[0], "ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise RedisError("NOPROTO unsupported protocol version")
    token, at = None, 1
    while at < len(args):
        word = args[at].upper()
        if word == b"AUTH" and at + 2 < len(args):
            token = args[at + 2]
            at += 3
        elif word == b"SETNAME" and at + 1 < len(args):
            name = _checked_name(args[at + 1])
            at += 2
        else:
            option = args[at].decode(_ENCODING, "backslashreplace")
            raise RedisError(f"ERR Syntax error in HELLO option '{option}'")
    if token is not None:
        await _take_token(connection, token)
    connection.version, connection.name = version, name
    return {
        b"server": b"redis",
        b"version": SERVER_VERSION.encode(),
        b"proto": version,
        b"id": connection.id,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


async def _take_token(connection: RedisConnection, token: bytes) -> None:
    connection.door.check_rate(connection)
    text = token.decode(_ENCODING, "backslashreplace")
    await connection.door.databases.check_token(text, connection.address)
    connection.choose(token=text)


@for_connection("CLIENT|ID", 2)
def _client_id(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The number of the connection."""
    return connection.id


@for_connection("CLIENT|SETNAME", 3)
def _client_setname(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Give the connection a name."""
    connection.name = _checked_name(args[0])
    return OK


@for_connection("CLIENT|GETNAME", 2)
def _client_getname(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The name of the connection."""
    return connection.name or None


@for_connection("CLIENT|SETINFO", 4)
def _client_setinfo(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Note the caller's library."""
    kind = args[0].lower()
    if kind not in (b"lib-name", b"lib-ver"):
        option = args[0].decode(_ENCODING, "backslashreplace")
        raise RedisError(f"ERR Unrecognized option '{option}'")
    if not _is_name(args[1]):
        shown = kind.decode()
        raise RedisError(f"ERR {shown} cannot contain spaces, newlines or special characters.")
    connection.library[kind] = args[1][:128]
    return OK


@for_connection("CLIENT|NO-EVICT", 3)
def _client_no_evict(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Accepted: no connection is closed for memory that others need."""
    return _flagged(connection, "e", args[0])


@for_connection("CLIENT|NO-TOUCH", 3)
def _client_no_touch(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Accepted: uses leave no trace."""
    return _flagged(connection, "T", args[0])


def _flagged(connection: RedisConnection, flag: str, text: bytes) -> Reply:
    if text.upper() not in (b"ON", b"OFF"):
        raise syntax_error()
    if text.upper() == b"ON":
        connection.flags.add(flag)
    else:
        connection.flags.discard(flag)
    return OK


def _checked_name(name: bytes) -> bytes:
    if not _is_name(name):
        raise RedisError("ERR Client names cannot contain spaces, newlines or special characters.")
    return name[:1024]


def _is_name(text: bytes) -> bool:
    return all(33 <= one <= 126 for one in text)
