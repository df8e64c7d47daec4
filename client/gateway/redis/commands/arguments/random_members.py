"""Members drawn at random, as SPOP, SRANDMEMBER, HRANDFIELD and ZRANDMEMBER want them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from ringmill.client.gateway.redis.protocol.replies import RedisError
from ringmill.cluster.ports import Entropy

__all__ = ["drawn_members"]

_MOST: Final = 1 << 16
_STREAM: Final = "members drawn"


def drawn_members(members: Sequence[bytes], count: int, entropy: Entropy) -> list[bytes]:
    """Up to `count` different members, or all; with a negative `count` exactly as many, and any of
    them may come more than once.  Raises RedisError when it is out of range."""
    if count < -_MOST:
        raise RedisError(f"ERR value is out of range, it must be at least {-_MOST}")
    much = (-count if members else 0) if count < 0 else min(count, len(members))
    numbers = struct.unpack(f">{much}Q", entropy.random_bytes(_STREAM, 8 * much))
    if count < 0:
        return [members[number * len(members) >> 64] for number in numbers]
    pool, size = list(members), len(members)
    for place, number in enumerate(numbers):
        other = place + (number * (size - place) >> 64)
        pool[place], pool[other] = pool[other], pool[place]
    return pool[:much]
