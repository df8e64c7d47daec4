"""Commands that tell about the server: which commands there are, settings, figures, the time."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ringmill.client.gateway.redis.commands.arguments.counted_keys import counted_keys
from ringmill.client.gateway.redis.commands.arguments.globs import MOST_PATTERN_BYTES, MOST_STEPS, Matching
from ringmill.client.gateway.redis.commands.command_spec import (
    COMMANDS,
    CommandSpec,
    for_connection,
    syntax_error,
    waiting_command,
)
from ringmill.client.gateway.redis.commands.connection_commands import SERVER_VERSION
from ringmill.client.gateway.redis.commands.generic_keys import MOST_IN_LISTPACK
from ringmill.client.gateway.redis.protocol.replies import OK, RedisError, Reply
from ringmill.cluster.limits import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []

SMALL: Final = b"%d" % MOST_IN_LISTPACK
_MOST_PATTERNS: Final = 100
_SETTINGS: Final = {
    b"appendonly": b"yes",
    b"appendfsync": b"always",
    b"save": b"",
    b"maxmemory": b"0",
    b"maxmemory-policy": b"noeviction",
    b"databases": b"16",
    b"proto-max-bulk-len": b"%d" % MAX_VALUE_BYTES,
    b"hash-max-listpack-entries": SMALL,
    b"set-max-listpack-entries": SMALL,
    b"zset-max-listpack-entries": SMALL,
    b"list-max-listpack-size": SMALL,
    b"slowlog-log-slower-than": b"-1",
    b"slowlog-max-len": b"0",
    b"notify-keyspace-events": b"",
}
"""What the settings of a Redis would be that behaves as this does; callers ask for some of them."""
_SECTIONS: Final = ("server", "clients", "persistence", "stats", "replication", "cpu", "cluster")


@for_connection("COMMAND", 1, "loading")
def _command(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """All commands: arity, flags, places of keys."""
    return [_info_row(spec) for spec in _whole_commands()]


@for_connection("COMMAND|COUNT", 2, "loading")
def _command_count(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """How many commands there are."""
    return len(_whole_commands())


@for_connection("COMMAND|LIST", -2, "loading")
def _command_list(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The names of all commands, or of those that a pattern matches."""
    names: list[Reply] = [spec.name.lower().encode() for spec in _whole_commands()]
    if not args:
        return names
    if len(args) != 3 or [word.upper() for word in args[:2]] != [b"FILTERBY", b"PATTERN"]:
        raise syntax_error()
    wanted = Matching(args[2].lower(), MOST_STEPS)
    return [name for name in names if isinstance(name, bytes) and wanted.matches(name)]


@for_connection("COMMAND|GETKEYS", -3, "loading")
def _command_getkeys(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Which arguments of a command are keys."""
    spec = COMMANDS.get(args[0].upper())
    if spec is None:
        raise RedisError("ERR Invalid command specified")
    if spec.for_connection is not None and "refused" in spec.flags:
        spec.for_connection(connection, args[1:])  # it raises the reason
    if spec.each_key is None and not spec.first_key:
        raise RedisError("ERR The command has no key arguments")
    if not spec.fits(len(args)):
        raise RedisError("ERR Invalid number of arguments specified for command")
    if spec.each_key is not None:
        return list(dict.fromkeys(key for key, _ in spec.each_key(args[1:], connection.version).changes))
    if "movablekeys" in spec.flags:
        return [args[1], *counted_keys(args[2:])[0]]
    last = spec.last_key if spec.last_key >= 0 else len(args) + spec.last_key
    return list(args[spec.first_key : last + 1 : spec.step])


@for_connection("COMMAND|INFO", -2, "loading")
def _command_info(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Arity, flags and places of keys of some commands, or of all."""
    if not args:
        return [_info_row(spec) for spec in _whole_commands()]
    return [_info_row(COMMANDS[name.upper()]) if name.upper() in COMMANDS else None for name in args]


@for_connection("COMMAND|DOCS", -2, "loading")
def _command_docs(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """A sentence about some commands, or about all."""
    wanted = {name.upper().decode("utf-8", "replace") for name in args}
    return {
        spec.name.lower().encode(): {b"summary": spec.about.encode(), b"group": b"generic"}
        for spec in _whole_commands()
        if not wanted or spec.name in wanted
    }


def _whole_commands() -> list[CommandSpec]:
    return [spec for spec in COMMANDS.values() if "|" not in spec.name and "refused" not in spec.flags]


def _info_row(spec: CommandSpec) -> Reply:
    flags: set[bytes] = {flag.encode() for flag in spec.flags}
    name = spec.name.lower().encode()
    return [name, spec.arity, flags, spec.first_key, spec.last_key, spec.step, set[bytes](), [], [], []]


@for_connection("CONFIG|GET", -3, "admin")
def _config_get(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """A few settings that callers ask for."""
    if len(args) > _MOST_PATTERNS:
        raise RedisError(f"ERR the command has {len(args)} patterns, the limit is {_MOST_PATTERNS}")
    if (size := sum(map(len, args))) > MOST_PATTERN_BYTES:
        raise RedisError(f"ERR the patterns have {size} bytes, the limit is {MOST_PATTERN_BYTES}")
    wanted = [Matching(pattern.lower(), MOST_STEPS) for pattern in args]
    return {
        name: value for name, value in _SETTINGS.items() if any(pattern.matches(name) for pattern in wanted)
    }


@for_connection("TIME", 1, "fast")
def _time(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """The gateway's time: seconds since 1970, and microseconds."""
    micros = int(connection.door.wall() * 1_000_000)
    return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]


@waiting_command("INFO", -1, "loading")
async def _info(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Figures of this gateway, in sections."""
    wanted = {word.lower().decode("utf-8", "replace") for word in args}
    if not wanted or wanted & {"all", "everything", "default"}:
        wanted = set(_SECTIONS)
    sections = []
    for section in _SECTIONS:
        if section in wanted:
            lines = "".join(f"{name}:{value}\r\n" for name, value in _figures(section, connection).items())
            sections.append(f"# {section.capitalize()}\r\n{lines}")
    return "\r\n".join(sections).encode()


def _figures(section: str, connection: RedisConnection) -> dict[str, object]:
    door, times = connection.door, os.times()
    up_s = int(door.monotonic() - door.began_s)
    figures: dict[str, dict[str, object]] = {
        "server": {
            "redis_version": SERVER_VERSION,
            "redis_mode": "standalone",
            "os": platform.system(),
            "arch_bits": 8 * struct.calcsize("P"),
            "process_id": os.getpid(),
            "uptime_in_seconds": up_s,
            "uptime_in_days": up_s // 86400,
            "gateway": "ringmill",
        },
        "clients": {"connected_clients": len(door.connections()), "maxclients": door.limits.most_connections},
        "persistence": {"loading": 0, "aof_enabled": 1, "aof_last_write_status": "ok"},
        "stats": {
            "total_connections_received": door.connections_made,
            "total_commands_processed": door.commands_done,
            "expired_keys": door.expiry.expired_keys,
            "swept_keys": door.expiry.swept_keys,
            "swept_databases": door.expiry.swept_databases,
            "sweep_failures": door.expiry.sweep_failures,
            "sweep_last_round_seconds": round(door.expiry.last_round_s),
            "sweep_last_round_ended": int(door.expiry.last_round_ended),
        },
        "replication": {"role": "master", "connected_slaves": 0},
        "cluster": {"cluster_enabled": 0},
        "cpu": {"used_cpu_sys": f"{times.system:.6f}", "used_cpu_user": f"{times.user:.6f}"},
    }
    return figures.get(section, {})


@for_connection("CONFIG|SET", -4, "admin")
def _config_set(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Refused: the gateway's settings are arguments of its command."""
    raise RedisError("ERR CONFIG SET is not offered: start `ringmill gateway` with other arguments")


@waiting_command("CONFIG|RESETSTAT", 2, "admin")
async def _config_resetstat(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
    """Count the commands of this gateway, and what has expired, from 0 again, for whom the cluster knows."""
    await connection.door.databases.check_shown(connection.token, connection.address)
    connection.door.commands_done = connection.door.expiry.expired_keys = 0
    return OK
