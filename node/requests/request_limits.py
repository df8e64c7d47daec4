"""The limits of a client's request: sizes, siblings, time.  Each refusal names the limit and the given value.

The limits on siblings and object size apply to a client's write at its coordinator, but never to one that
leaves one value.  Merges and repairs are never refused, so replicas always converge (rule V5).  A key or
value that is too long is refused by its length alone (rule F3).
"""

from __future__ import annotations

import logging
import sys
from typing import Final, NamedTuple

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, QuorumNotReached
from ringmill.cluster.limits import (
    MAX_ENTRIES,
    MAX_KEY_BYTES,
    MAX_OBJECT_BYTES,
    MAX_TIMEOUT_S,
    MAX_TTL_MS,
    MAX_VALUE_BYTES,
)
from ringmill.cluster.versions.hybrid_time import HybridClock, hybrid_time, millis
from ringmill.cluster.versions.objects import OperationId, StoredObject
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES, OPERATION_OVERHEAD_BYTES
from ringmill.node.replica.object_batch import Growth

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "MAX_SIBLINGS",
    "UNLIMITED",
    "GrowthLimit",
    "admit_growth",
    "check_birth",
    "check_key",
    "check_shown",
    "check_ttl",
    "check_value",
    "growth_limit",
    "time_allowed",
]

MAX_SIBLINGS: Final = 100
WARN_SIBLINGS: Final = 25
DEFAULT_TIMEOUT_S: Final = 5.0
ANSWER_S: Final = 0.1
_BIRTH_AHEAD_MS: Final = 86_400_000
"""A day: no clock that is right but set to another zone's time is as far from the others."""

_log = logging.getLogger(__name__)


def check_birth(operation: OperationId | None, hybrid: HybridClock) -> None:
    """Refuse a write that is named by a time which no clock tells yet: all that is forgotten or remembered of
    its object would be older than that (rule V4).

    The median of the cluster's clocks counts, so that a node whose own clock is behind takes what is born by
    the others'.  A node that has not compared the clocks yet refuses nothing.
    """
    if operation is None or operation.birth <= hybrid.latest or not hybrid.knows_shared_time:
        return
    newest = hybrid_time(max(hybrid.wall_ms(), hybrid.expiry_ms()) + _BIRTH_AHEAD_MS)
    if operation.birth > newest:
        raise InvalidArgument(
            f"the write is named by a time {millis(operation.birth)} ms after 1970, more than a day ahead of "
            "the clocks of this cluster",
            detail={"newest_birth": hybrid_time(millis(newest) - _BIRTH_AHEAD_MS)},
            hint="the client has it from a node whose clock was far ahead, or made it up; "
            "`ringmill doctor` compares the clocks",
        )


def check_key(key: bytes) -> None:
    if not key:
        raise InvalidArgument(f"the key is empty; a key has 1 to {MAX_KEY_BYTES} bytes")
    if len(key) > MAX_KEY_BYTES:
        raise InvalidArgument(f"the key has {len(key)} bytes, the limit is {MAX_KEY_BYTES} bytes")


def check_value(value: bytes | None) -> None:
    if value is not None and len(value) > MAX_VALUE_BYTES:
        raise InvalidArgument(
            f"the value has {len(value)} bytes, the limit is {MAX_VALUE_BYTES} bytes",
            hint="cut it into several keys",
        )


def check_ttl(ttl_ms: int) -> None:
    if ttl_ms > MAX_TTL_MS:
        raise InvalidArgument(
            f"a ttl of {ttl_ms} ms, the limit is {MAX_TTL_MS} ms (100 years)", hint="0 never expires"
        )


def time_allowed(timeout_s: float, left_s: float | None) -> float:
    """Seconds a request may take here: its `timeout_s` (0 is the default), but no longer than its caller
    still waits (`left_s`, if known), by rule D1.

    A little is subtracted, so that the error that names silent owners still reaches the caller.
    Raises InvalidArgument; DeadlineExceeded when nobody waits any more.
    """
    if left_s is not None:
        if left_s <= 0:
            raise DeadlineExceeded.on_arrival("the request waited past its deadline: nothing was done")
        left_s = left_s if left_s < MAX_TIMEOUT_S else MAX_TIMEOUT_S
        timeout_s = min(timeout_s, left_s) if timeout_s else left_s
    if timeout_s == 0:
        timeout_s = DEFAULT_TIMEOUT_S
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InvalidArgument(
            f"a timeout of {timeout_s} s; it must be above 0 and at most {MAX_TIMEOUT_S:.0f} s"
        )
    share_s = timeout_s / 20
    return timeout_s - (share_s if share_s < ANSWER_S else ANSWER_S)


class GrowthLimit(NamedTuple):
    """How many values an object may have after a write."""

    most: int
    values: str  # what a refusal calls them
    hint: str


_SIBLINGS: Final = GrowthLimit(
    MAX_SIBLINGS, "siblings", "get the key and put one merged value with the context of that answer"
)
_ENTRIES: Final = GrowthLimit(MAX_ENTRIES, "entries", "spread them over several keys")
UNLIMITED: Final = GrowthLimit(sys.maxsize, "entries", "")


def growth_limit(policy: str) -> GrowthLimit:
    """The limit of an object in a keyspace of this policy.

    A counter has one value for each start of a node that has counted; it is limited by its size alone.
    """
    if policy == "counter":
        return UNLIMITED
    return _ENTRIES if policy in ("set", "map") else _SIBLINGS


def admit_growth(growth: Growth, limit: GrowthLimit = _SIBLINGS) -> None:
    """Refuse a client's write that would make an object too wide or too large.

    Of the entries of sets, maps and counters only the number is checked here: an update has checked their
    size, as a removal has to pass, however large they are (cluster/versions/mergeable.py).
    """
    was, becomes, own_bytes, size_bytes = growth
    if becomes > max(was, limit.most):
        raise InvalidArgument(
            f"the key would have {becomes} {limit.values}, the limit is {limit.most}", hint=limit.hint
        )
    is_siblings = limit is _SIBLINGS
    if is_siblings and becomes > max(was, 1) and size_bytes > MAX_OBJECT_BYTES:
        raise InvalidArgument(
            f"{becomes} siblings would take {size_bytes} bytes, the limit is {MAX_OBJECT_BYTES} bytes",
            hint=limit.hint,
        )
    if is_siblings and becomes > 1 and own_bytes > MAX_OBJECT_BYTES:
        raise InvalidArgument(
            f"{becomes} siblings would take {size_bytes} bytes, {own_bytes} of them written by this node; "
            f"the limit is {MAX_OBJECT_BYTES} bytes",
            hint=limit.hint,
        )
    if is_siblings and becomes == WARN_SIBLINGS > was:
        _log.warning("a key has %d siblings; at %d writes are refused", becomes, MAX_SIBLINGS)


def check_shown(merged: StoredObject) -> None:
    """Check that an answer has room for an object.  Raises QuorumNotReached, as if owners could not send
    it."""
    size = sum(len(sibling.value or b"") + OPERATION_OVERHEAD_BYTES for sibling in merged.siblings)
    if size > MAX_FRAME_BYTES - OPERATION_OVERHEAD_BYTES:  # more than the owners can have been sent
        raise QuorumNotReached(
            f"the {len(merged.siblings)} siblings of the key take {size} bytes, "
            f"and one message takes {MAX_FRAME_BYTES}",
            hint="a put or delete without a context overwrites what its coordinator holds",
            outcome="failed",
        )
