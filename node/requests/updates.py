"""What a write asks of a keyspace whose values merge by themselves: counters, sets and maps.

The policy of the keyspace decides.  A write that does not suit it is refused before anything happened.  Rule
V10: docs/protocol/versions.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument
from ringmill.cluster.limits import MAX_KEY_BYTES, MAX_TOTAL
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.entries import entry_name
from ringmill.cluster.versions.mergeable import Add, PutElement, PutEntry, Remove, Update
from ringmill.node.requests.request_values import WriteRequest

__all__ = ["update_of"]

_VERBS: Final = {
    "counter": "add to it",
    "set": "add and remove elements",
    "map": "put and remove entries",
}
_HINTS: Final = {
    "counter": "ringmill counters add KEY AMOUNT",
    "set": "ringmill sets add KEY ELEMENT",
    "map": "ringmill maps put KEY ENTRY VALUE",
}


def update_of(request: WriteRequest, keyspace: KeyspaceEntry) -> Update | None:
    """The update that a write makes; None when it writes or deletes the whole value.

    Raises InvalidArgument for a write that does not suit the keyspace; DeadlineExceeded (unknown) for a later
    attempt of an update that cannot be known again.
    """
    policy = keyspace.policy
    if request.is_touch and policy in _VERBS:
        raise InvalidArgument(
            f"keyspace {keyspace.name!r} keeps {policy}s: a touch gives a value another expiry",
            hint="add the element, or put the entry, again with the ttl that it is to have",
        )
    if policy not in _VERBS:
        if request.entry or request.amount:
            raise InvalidArgument(
                f"keyspace {keyspace.name!r} keeps {policy}: it has no counters, elements or entries",
                hint="make a keyspace with policy counter, set or map",
            )
        return None
    update = _put(request, keyspace)
    if update is None:
        return None
    if request.options.context or request.options.is_blind:
        raise InvalidArgument(f"an update of a {policy} takes no context: it says itself what it replaces")
    if request.attempt and not update.is_repeatable:
        sometimes("an addition is not sent again")
        raise DeadlineExceeded(
            f"attempt {request.attempt + 1} of an addition: an earlier one may have been counted, so it is "
            "not counted again",
            hint="a register counts exactly: `ringmill incr`",
            outcome="unknown",
        )
    return update


def _put(request: WriteRequest, keyspace: KeyspaceEntry) -> Update | None:
    if request.value is None:
        return _removal(request, keyspace)
    if keyspace.policy == "counter" and request.amount and not request.entry and not request.value:
        if request.options.ttl_ms:
            raise InvalidArgument("an addition has no ttl: a count does not expire")
        if abs(request.amount) > MAX_TOTAL:
            raise InvalidArgument(f"an amount of {request.amount}, the limit is {MAX_TOTAL}")
        return Add(request.amount)
    if keyspace.policy != "counter" and request.entry and not request.amount:
        _check_entry(request.entry)
        if keyspace.policy == "map":
            return PutEntry(request.entry, request.value)
        if not request.value:
            return PutElement(request.entry, bool(request.options.ttl_ms or keyspace.ttl_ms))
    raise _unsuited(keyspace)


def _removal(request: WriteRequest, keyspace: KeyspaceEntry) -> Update | None:
    if not request.entry:
        return None
    if keyspace.policy == "counter":
        raise _unsuited(keyspace)
    _check_entry(request.entry)
    return Remove(request.entry, entry_name if keyspace.policy == "map" else bytes)


def _check_entry(entry: bytes) -> None:
    if len(entry) > MAX_KEY_BYTES:
        raise InvalidArgument(f"the entry has {len(entry)} bytes, the limit is {MAX_KEY_BYTES} bytes")


def _unsuited(keyspace: KeyspaceEntry) -> InvalidArgument:
    policy = keyspace.policy
    return InvalidArgument(
        f"keyspace {keyspace.name!r} has policy {policy}: {_VERBS[policy]}, or delete the key",
        hint=_HINTS[policy],
    )
