"""Commands that Redis has and the gateway refuses on purpose, each with the reason.

A leaderless store has no one place that orders the changes of several keys, or holds a caller until another
one writes.  A caller is told so instead of "unknown command".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ringmill.client.gateway.redis.commands.command_spec import for_connection
from ringmill.client.gateway.redis.protocol.replies import RedisError, Reply

if TYPE_CHECKING:
    from ringmill.client.gateway.redis.serving.redis_connection import RedisConnection

__all__: list[str] = []

_SEVERAL_KEYS: Final = "it changes several keys in one step, and each key changes by itself here"
_SCRIPTS: Final = "the gateway runs no scripts; SET with NX takes a lock, and DELEX with IFEQ releases it"
_BLOCKING: Final = "no caller is held until another one writes"
_OTHERS: Final = "no caller holds up the others"
_INVALIDATION: Final = "a caller that keeps values is not told of changes"
_CHANNELS: Final = "there are no channels; `ringmill watch` tells changes of keys"
_STREAMS: Final = "there are no streams"
_FIELDS: Final = "the fields of a hash expire together, by EXPIRE"
_NO_TYPE: Final = "there are no values of this type"
_LEFT_OUT: Final = "the gateway does not have it"
_ONE_PROCESS: Final = "it is about one process with one memory; see `ringmill cluster status`"

_REFUSED: Final = {
    _SEVERAL_KEYS: "MSETNX RENAME RENAMENX SMOVE LMOVE RPOPLPUSH SWAPDB MOVE LMPOP ZMPOP MSETEX",
    _SCRIPTS: "EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO SCRIPT FUNCTION",
    _OTHERS: "CLIENT|PAUSE CLIENT|UNPAUSE",
    _INVALIDATION: "CLIENT|TRACKING CLIENT|CACHING CLIENT|GETREDIR CLIENT|TRACKINGINFO",
    _BLOCKING: "BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF",
    _CHANNELS: "PUBLISH SUBSCRIBE PSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE PUBSUB "
    "SPUBLISH SSUBSCRIBE SUNSUBSCRIBE",
    _FIELDS: "HEXPIRE HPEXPIRE HEXPIREAT HPEXPIREAT HEXPIRETIME HPEXPIRETIME HTTL HPTTL HPERSIST "
    "HGETEX HSETEX",
    _STREAMS: "XADD XREAD XRANGE XREVRANGE XLEN XDEL XTRIM "
    "XGROUP XREADGROUP XACK XINFO XPENDING XCLAIM XAUTOCLAIM",
    _NO_TYPE: "PFADD PFCOUNT PFMERGE GEOADD GEODIST GEOHASH GEOPOS GEOSEARCH GEOSEARCHSTORE GEORADIUS "
    "GEORADIUSBYMEMBER",
    _LEFT_OUT: "SORT SORT_RO LCS DUMP RESTORE LOLWUT COMMAND|GETKEYSANDFLAGS",
    _ONE_PROCESS: "SAVE BGSAVE BGREWRITEAOF LASTSAVE SHUTDOWN REPLICAOF SLAVEOF ROLE SYNC PSYNC "
    "MONITOR DEBUG SLOWLOG LATENCY MEMORY CLUSTER READONLY READWRITE MODULE ACL FAILOVER MIGRATE",
}


def _refuse(name: str, reason: str) -> None:
    shown = name.replace("|", " ")

    @for_connection(name, -1, "refused")
    def refusal(connection: RedisConnection, args: Sequence[bytes]) -> Reply:
        raise RedisError(f"ERR {shown} is not offered: {reason}")


for _reason, _names in _REFUSED.items():
    for _name in _names.split():
        _refuse(_name, _reason)
