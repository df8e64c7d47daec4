"""What an object remembers of operations whose sibling is gone, so that another copy of one is known as late.

A write that is sent twice may be applied by two coordinators.  When one copy has been replaced, the other may
still be under way, or wait on a node that is cut off, and no context covers it.  So an object remembers, in a
few bytes each, the `MOST` newest, within an hour of the newest of them, and the `MOST_RETRIED` newest of
those that are known to have been sent twice, however old they are.  A copy of one of these is dropped by
merge.

An entry has 16 bytes, newest first: the hybrid time of the sibling (8, big-endian), a hash of its operation's
id (7), and a mark (1): 1 when a later attempt had written it, else 0.  The time is above the birth of the
operation, whatever the clock of its coordinator said: what was forgotten is judged by that.  Those with the
mark and those without are two sets that know nothing of each other, so that a union of memories is
commutative, associative and idempotent though it trims.  Rule V4: docs/protocol/versions.md.  Pure.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = [
    "ENTRY_BYTES",
    "MOST",
    "MOST_RETRIED",
    "entry_of",
    "forgets_since",
    "is_well_formed",
    "knows",
    "newest_time",
    "remember",
    "union",
]

MOST: Final = 8
MOST_RETRIED: Final = 64
ENTRY_BYTES: Final = 16
_KEPT: Final = 3_600_000 << 16  # an hour, as hybrid time
_ENTRY: Final = struct.Struct(">QQ")
_HEAD: Final = struct.Struct(">Q")  # the time
_MARKS: Final = b"\x00\x01"
_TIME: Final = slice(0, 8)
_NAME: Final = slice(8, 16)  # the hash and the mark
_MIX: Final = 0x9E37_79B9_7F4A_7C15
_MIX_BIRTH: Final = 0xC2B2_AE3D_27D4_EB4F
_MASK: Final = (1 << 56) - 1
_LAST_TIME: Final = (1 << 64) - 1


def entry_of(time: int, session: int, sequence: int, birth: int, *, is_retry: bool) -> bytes:
    """The entry of a sibling that is gone."""
    if time <= birth:  # its coordinator's clock was more than 500 ms behind that of another node
        time = min(birth + 1, _LAST_TIME)
    return _ENTRY.pack(time, (_hash(session, sequence, birth) << 8) | is_retry)


def remember(replaced: bytes, entry: bytes) -> bytes:
    """With one more entry, and without what need not be remembered any more."""
    if not replaced:
        return entry
    is_plain = entry[-1] == 0 and not any(replaced[15::ENTRY_BYTES])
    if not is_plain or entry[_TIME] <= replaced[_TIME] or entry[_NAME] in replaced:
        return union(replaced, entry)
    kept = (entry + replaced)[: MOST * ENTRY_BYTES]
    (newest,) = _HEAD.unpack_from(entry)
    while newest - _HEAD.unpack_from(kept, len(kept) - ENTRY_BYTES)[0] > _KEPT:
        kept = kept[:-ENTRY_BYTES]
    return kept


def union(ours: bytes, theirs: bytes) -> bytes:
    """What both remember: of one operation the newest time, with the mark and without it."""
    if ours == theirs or not theirs:
        return ours
    if not ours:
        return theirs
    newest: dict[bytes, bytes] = {}
    for entry in sorted((*_entries(ours), *_entries(theirs))):
        newest[entry[_NAME]] = entry
    ordered = sorted(newest.values(), reverse=True)
    plain = [entry for entry in ordered if not entry[-1]][:MOST]
    retried = [entry for entry in ordered if entry[-1]][:MOST_RETRIED]
    if plain:
        oldest = _an_hour_before(plain[0])
        plain = [entry for entry in plain if entry[_TIME] >= oldest]
    return b"".join(sorted([*plain, *retried], reverse=True))


def knows(replaced: bytes, session: int, sequence: int, birth: int) -> bool:
    """Whether the operation is remembered."""
    if not replaced:
        return False
    sought = _hash(session, sequence, birth).to_bytes(7, "big")
    return sought in replaced and any(entry[8:15] == sought for entry in _entries(replaced))


def newest_time(replaced: bytes) -> int:
    """The highest time among the entries, 0 when there are none."""
    return max((int.from_bytes(entry[_TIME], "big") for entry in _entries(replaced)), default=0)


def forgets_since(replaced: bytes, birth: int) -> bool:
    """Whether an operation of this birth may have been remembered and forgotten: an entry is newer than the
    birth of its operation, and what was forgotten is older than what is kept."""
    plain: list[int] = []
    retried: list[int] = []
    for entry in _entries(replaced):
        (retried if entry[-1] else plain).append(int.from_bytes(entry[_TIME], "big"))
    if len(plain) >= MOST and min(plain) > birth:
        return True
    if len(retried) >= MOST_RETRIED and min(retried) > birth:
        return True
    return bool(plain) and max(plain) - _KEPT > birth


def is_well_formed(replaced: bytes) -> bool:
    """Whether bytes from outside may be such a memory.  Their order is not checked: it costs no safety."""
    size = len(replaced)
    if size % ENTRY_BYTES or not 0 < size <= (MOST + MOST_RETRIED) * ENTRY_BYTES:
        return False
    return not replaced[15::ENTRY_BYTES].strip(_MARKS)


def _an_hour_before(entry: bytes) -> bytes:
    return max(0, int.from_bytes(entry[_TIME], "big") - _KEPT).to_bytes(8, "big")


def _entries(replaced: bytes) -> list[bytes]:
    return [replaced[at : at + ENTRY_BYTES] for at in range(0, len(replaced), ENTRY_BYTES)]


def _hash(session: int, sequence: int, birth: int) -> int:
    """The hash of the whole id, because an operation is found by the whole id.

    Sessions are random, and odd factors spread what is counted.
    """
    return (session ^ sequence * _MIX ^ birth * _MIX_BIRTH) & _MASK
