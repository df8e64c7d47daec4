"""Errors of the cluster in the form that Redis's protocol gives them."""

from __future__ import annotations

from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.client.gateway.redis.store.key_index import INDEX_SUFFIX
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError

__all__ = ["GATEWAY_FAILED", "NO_AUTH", "redis_error_from"]

NO_AUTH = "NOAUTH Authentication required."
GATEWAY_FAILED = RedisError("ERR the gateway failed; its log says why")
_NO_KEYSPACE = "there is no keyspace"


def redis_error_from(error: RingmillError, has_token: bool, name: str) -> RedisError:
    """The reply for an error: its prefix (cluster/errors.py), the message, and whether it may have happened.

    `name` is the keyspace of the database: when it is not there, the hint says how to make it.  Who has shown
    no token and is refused is asked for one, as Redis does.
    """
    if isinstance(error, PermissionDenied) and not has_token:
        return RedisError(NO_AUTH)
    hint = error.hint
    if isinstance(error, InvalidArgument) and error.message.startswith(_NO_KEYSPACE):
        index = name + INDEX_SUFFIX
        hint = (
            f"run `ringmill keyspace create {name} --kind registers` and `ringmill keyspace create {index}`"
        )
    unknown = "; it may have been done" if error.outcome == "unknown" else ""
    return RedisError(f"{error.redis_prefix} {error.message}{unknown}{f' ({hint})' if hint else ''}")
