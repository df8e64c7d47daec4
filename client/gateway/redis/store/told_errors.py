"""An error of the cluster as a caller of Redis's protocol is told it."""

from __future__ import annotations

from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.cluster.errors import PermissionDenied, RingmillError

__all__ = ["GATEWAY_FAILED", "NO_AUTH", "told_error"]

NO_AUTH = "NOAUTH Authentication required."
GATEWAY_FAILED = RedisError("ERR the gateway failed; its log says why")


def told_error(error: RingmillError, has_token: bool) -> RedisError:
    """The reply for an error: its prefix (cluster/errors.py), the message, and whether it may have happened.

    Who has shown no token and is refused is asked for one, as Redis does.
    """
    if isinstance(error, PermissionDenied) and not has_token:
        return RedisError(NO_AUTH)
    unknown = "; it may have been done" if error.outcome == "unknown" else ""
    hint = f" ({error.hint})" if error.hint else ""
    return RedisError(f"{error.redis_prefix} {error.message}{unknown}{hint}")
