"""CLIENT LIST, INFO, KILL, UNBLOCK and REPLY: what a caller does with its connections to this gateway."""

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


@for_connection("CLIENT|INFO", 2)
def _client_info(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """This connection, as fields."""
    return _line_of(connection) + b"\n"


@waiting_command("CLIENT|LIST", -2)
async def _client_list(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The caller's connections to this gateway: those that show the same token."""
    wanted: set[int] | None = None
    if args:
        if args[0].upper() == b"TYPE" and len(args) == 2:
            wanted = set() if args[1].lower() != b"normal" else None
        elif args[0].upper() == b"ID" and len(args) > 1:
            wanted = {one_integer(one, "ERR Invalid client ID") for one in args[1:]}
        else:
            raise syntax_error()
    own = await _own_connections(connection)
    return b"".join(_line_of(one) + b"\n" for one in own if wanted is None or one.id in wanted)


async def _own_connections(connection: RedisConnection) -> list[RedisConnection]:
    """The connections that show the token of this one, once the cluster has taken it: without that, all that
    have not shown theirs yet would be one caller's.  Raises RedisError, RingmillError."""
    await connection.door.databases.check_shown(connection.token, connection.address)
    return [one for one in connection.door.connections() if one.token == connection.token]


def _line_of(connection: RedisConnection) -> bytes:
    now_s, queued = connection.door.monotonic(), connection.queued
    flags = "" if queued is None else "x"
    fields: dict[str, object] = {
        "id": connection.id,
        "addr": connection.address,
        "laddr": connection.local_address,
        "name": connection.name.decode("ascii", "replace"),
        "age": int(now_s - connection.began_s),
        "idle": int(now_s - connection.lateness.active_s),
        "flags": flags + "".join(flag for flag in "eT" if flag in connection.flags) or "N",
        "db": connection.number,
        "sub": 0,
        "psub": 0,
        "multi": -1 if queued is None else len(queued),
        "cmd": connection.last_command.decode("ascii", "replace").lower(),
        "user": "default",
        "resp": connection.version,
        "lib-name": connection.library.get(b"lib-name", b"").decode("ascii", "replace"),
        "lib-ver": connection.library.get(b"lib-ver", b"").decode("ascii", "replace"),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()).encode()


@waiting_command("CLIENT|KILL", -3)
async def _client_kill(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Close connections of the caller to this gateway: those that show the same token."""
    own = await _own_connections(connection)
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
