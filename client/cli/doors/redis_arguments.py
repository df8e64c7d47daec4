"""The arguments of the gateway's door for clients of Redis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ringmill.client.arguments import checked_name
from ringmill.client.cli.doors.door_place import host_and_port
from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.protection.caller_limits import CallerLimits
from ringmill.client.gateway.redis.expiry.sweeper import SweepOptions
from ringmill.client.gateway.redis.redis_door import RedisDoor
from ringmill.client.gateway.redis.store.key_index import INDEX_SUFFIX
from ringmill.client.local.tcp_ports import is_loopback
from ringmill.cluster.adapters.c_library import give_back_memory
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import InvalidArgument

__all__ = ["redis_door"]

_DATABASE: Final = re.compile(r"(?P<number>[0-9]{1,5})=(?P<name>.+)")


def redis_door(
    place: str,
    databases: Sequence[str],
    clients: ClientsByToken,
    callers: CallerLimits,
    timeout_s: float,
    sweeps: SweepOptions,
) -> RedisDoor:
    """The door that the command line asks for.  Raises InvalidArgument, which names the flag."""
    host, port = host_and_port("--redis", place, 6379)
    if not is_loopback(host):
        raise InvalidArgument(
            f"--redis {place[:80]}: the door has no TLS, so it opens on a loopback address only",
            hint=f"--redis 127.0.0.1:{port}",
        )
    names = dict(_named(text) for text in databases)
    return RedisDoor(
        host,
        port,
        clients,
        clock=SystemClock(),
        entropy=OsEntropy(),
        timeout_s=timeout_s,
        names=names,
        callers=callers,
        give_back=give_back_memory,
        sweeps=sweeps,
    )


def _named(text: str) -> tuple[int, str]:
    match = _DATABASE.fullmatch(text)
    if match is None:
        raise InvalidArgument(
            f"--redis-db {text[:80]!r} is not NUMBER=NAME", hint="--redis-db 0=sessions, for example"
        )
    name = checked_name("--redis-db", match["name"])
    checked_name("--redis-db", name + INDEX_SUFFIX)
    return int(match["number"]), name
