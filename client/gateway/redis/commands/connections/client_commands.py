"""CLIENT KILL, UNBLOCK and REPLY: what a caller does with its connections to this gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ringmill.client.gateway.redis.commands.arguments.numbers_in_arguments import one_integer
from ringmill.client.gateway.redis.commands.command_spec import for_connection, syntax_error, waiting_command
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []

_TYPES: Final = (b"normal", b"master", b"slave", b"replica", b"pubsub")
_NO_ID: Final = "ERR client-id should be greater than 0"


@waiting_command("CLIENT|KILL", -3)
async def _client_kill(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Close connections of the caller to this gateway: those that show the same token."""
    own = [one for one in connection.door.connections() if one.token == connection.token]
    if len(args) == 1:
        chosen = [one for one in own if one.address.encode() == args[0]]
        if not chosen:
            raise RedisError("ERR No such client")
        _close(connection, chosen)
        return OK
    skips_me, filters = _filters(args)
    chosen = [one for one in own if all(fits(one) for fits in filters)]
    if skips_me:
        chosen = [one for one in chosen if one is not connection]
    _close(connection, chosen)
    return len(chosen)


def _close(connection: RedisConnection, chosen: Sequence[RedisConnection]) -> None:
    for one in chosen:
        if one is connection:
            one.quit()
        else:
            one.abort()


def _filters(args: Sequence[bytes]) -> tuple[bool, list[Callable[[RedisConnection], bool]]]:
    """Whether the caller's own connection is spared, and what the others have to be.  Raises RedisError."""
    skips_me, filters = True, list[Callable[["RedisConnection"], bool]]()
    if len(args) % 2:
        raise syntax_error()
    for word, text in zip(args[::2], args[1::2], strict=True):
        kind = word.upper()
        if kind == b"SKIPME" and text.lower() in (b"yes", b"no"):
            skips_me = text.lower() == b"yes"
        elif kind in _FILTERS:
            filters.append(_FILTERS[kind](text))
        else:
            raise syntax_error()
    return skips_me, filters


def _by_id(text: bytes) -> Callable[[RedisConnection], bool]:
    number = one_integer(text, _NO_ID, 1)
    return lambda one: one.id == number


def _by_address(text: bytes) -> Callable[[RedisConnection], bool]:
    return lambda one: one.address.encode() == text


def _by_local_address(text: bytes) -> Callable[[RedisConnection], bool]:
    return lambda one: one.local_address.encode() == text


def _by_type(text: bytes) -> Callable[[RedisConnection], bool]:
    if text.lower() not in _TYPES:
        raise RedisError(f"ERR Unknown client type '{text.decode('utf-8', 'backslashreplace')}'")
    return lambda _: text.lower() == b"normal"


def _by_user(text: bytes) -> Callable[[RedisConnection], bool]:
    if text != b"default":
        raise RedisError(f"ERR No such user '{text.decode('utf-8', 'backslashreplace')}'")
    return lambda _: True


_FILTERS: Final[dict[bytes, Callable[[bytes], Callable[[RedisConnection], bool]]]] = {
    b"ID": _by_id,
    b"ADDR": _by_address,
    b"LADDR": _by_local_address,
    b"TYPE": _by_type,
    b"USER": _by_user,
}


@for_connection("CLIENT|UNBLOCK", -3)
def _client_unblock(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """0: no command blocks, so no connection is to be released."""
    one_integer(args[0])
    if len(args) > 2 or (len(args) == 2 and args[1].upper() not in (b"TIMEOUT", b"ERROR")):
        raise RedisError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    return 0


@for_connection("CLIENT|REPLY", 3)
def _client_reply(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Answer all commands, or none, or not the next one."""
    mode = args[0].upper()
    if mode not in (b"ON", b"OFF", b"SKIP"):
        raise syntax_error()
    connection.reply_mode.choose(mode)
    return OK
