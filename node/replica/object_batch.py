"""Changes of objects that go to the engine together: applied, logged and made durable as one.

What was changed in a batch is what the next change in it finds.  Nothing of it stands in the engine before
`commit`; between the first change and that there must be no await, so that nobody changes the keys in between
(node/replica/object_store.py says why that needs no lock).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import Actor
from ringmill.cluster.limits import MAX_OBJECT_BYTES
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import ABSENT, StoredObject
from ringmill.cluster.versions.own_share import own_share_bytes
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Commit, OnDurable

__all__ = [
    "Admit",
    "Applied",
    "Change",
    "Growth",
    "ObjectBatch",
    "Present",
    "TouchedValue",
    "on_durable",
    "peers_object",
    "wait_durable",
]

FULL_BYTES: Final = 256 * 1024
"""A batch is one record of the log, and a block of it that is damaged costs the record (rule E4)."""


class Growth(NamedTuple):
    """What a write makes of an object."""

    was: int  # values that the object shows before
    becomes: int  # and after it
    own_bytes: int  # of the values that this node has written; 0 unless the object is above MAX_OBJECT_BYTES
    size_bytes: int  # of the object after it


Admit = Callable[[Growth], None]
"""Called before a write is applied; raises to refuse it."""

TouchedValue = Callable[[StoredObject, int], bytes]
"""Finds the value that a touch keeps of the present object, at a time in ms since 1970 (rule V11)."""


class Present:
    """What stands under a key: `encoded` are the bytes of the object, None when there is none.  It is decoded
    when somebody asks for it."""

    __slots__ = ("_stored", "encoded")

    def __init__(self, encoded: bytes | None, stored: StoredObject | None = None) -> None:
        self.encoded = encoded
        self._stored = stored

    @property
    def stored(self) -> StoredObject:
        stored = self._stored
        if stored is None:
            stored = self._stored = ABSENT if self.encoded is None else decode_object(self.encoded)
        return stored


class Applied:
    """An object as it stands once its batch is committed; `commit` None means that it is on the disk
    already.  It is decoded when somebody asks for it."""

    __slots__ = ("_stored", "commit", "encoded")

    def __init__(self, stored: StoredObject | None, encoded: bytes, commit: Commit | None = None) -> None:
        self._stored = stored
        self.encoded = encoded
        self.commit = commit

    @property
    def stored(self) -> StoredObject:
        stored = self._stored
        if stored is None:
            stored = self._stored = decode_object(self.encoded)
        return stored


@dataclass(slots=True)
class Change:
    """One changed object."""

    applied: Applied
    old: bytes | None  # its former encoding, None when there was none
    new_values: int  # 1 when the key holds a value now and held none, -1 the other way round


class ObjectBatch:
    def __init__(self) -> None:
        self._changes: dict[bytes, Change] = {}
        self._followers: list[Applied] = []
        self._size_bytes = 0

    @property
    def is_full(self) -> bool:
        """It should be committed before more is added."""
        return self._size_bytes >= FULL_BYTES

    @property
    def changes(self) -> dict[bytes, Change]:
        """By stored key."""
        return self._changes

    def pending(self, key: bytes) -> Applied | None:
        """What an earlier change of this batch has made of a key."""
        change = self._changes.get(key)
        return None if change is None else change.applied

    def store(
        self,
        key: bytes,
        present: Present,
        after: StoredObject,
        *,
        admit: Admit | None = None,
        encoded: bytes | None = None,
        writer: Actor | None = None,
    ) -> Applied:
        """Put `after` in the place of the present object.  `encoded` are the bytes of `after` where they are
        known, `writer` is who writes.  Raises what `admit` raises."""
        if encoded is None:
            encoded = encode_object(after)
        before = present.stored
        if admit is not None:
            is_large = len(encoded) > MAX_OBJECT_BYTES
            own_bytes = own_share_bytes(after, writer) if is_large and writer is not None else 0
            admit(Growth(len(before.visible()), len(after.visible()), own_bytes, len(encoded)))
        if len(after.siblings) > 1:
            sometimes("siblings stand beside each other")
        new_values = _has_value(after) - _has_value(before)
        return self.put(key, present.encoded, Applied(after, encoded), new_values)

    def put(self, key: bytes, old: bytes | None, applied: Applied, new_values: int) -> Applied:
        """Put in an object that is known to be admitted, in the place of the one whose bytes are `old`;
        `new_values` as in Change."""
        if (earlier := self._changes.get(key)) is not None:
            sometimes("a batch changes a key twice")
            self._followers.append(earlier.applied)
            old, new_values = earlier.old, earlier.new_values + new_values
        self._size_bytes += len(applied.encoded)
        self._changes[key] = Change(applied, old, new_values)
        return applied

    def unchanged(self, pending: Applied) -> Applied:
        """What a change that turned out to change nothing has to wait for: the pending one of this batch."""
        follower = Applied(pending._stored, pending.encoded)
        self._followers.append(follower)
        return follower

    def for_engine(self) -> Batch:
        batch = Batch()
        for key, change in self._changes.items():
            batch.put(key, change.applied.encoded)
        return batch

    def note_commit(self, commit: Commit) -> None:
        """Note the commit by which all of it stands in the engine."""
        for change in self._changes.values():
            change.applied.commit = commit
        for applied in self._followers:
            applied.commit = commit


def _has_value(stored: StoredObject) -> bool:
    for sibling in stored.siblings:  # noqa: SIM110 - most have one, and a loop is faster then
        if sibling.value is not None:
            return True
    return False


async def wait_durable(commit: Commit | None, durability: Durability) -> None:
    """Return once an applied write has this durability (rule W2).

    Raises Unavailable or DiskFull when it cannot be.
    """
    if commit is None or durability is Durability.MEMORY:
        return
    if durability is Durability.BUFFERED:
        await commit.buffered()
    else:
        await commit.synced()


def on_durable(commit: Commit | None, durability: Durability, callback: OnDurable) -> None:
    """Call back once an applied write has this durability (rule W2), perhaps before this returns.

    The callback gets None, or the Unavailable or DiskFull for which it cannot be made durable.
    """
    if commit is None or durability is Durability.MEMORY:
        callback(None)
    elif durability is Durability.BUFFERED:
        commit.tell_buffered(callback)
    else:
        commit.tell_synced(callback)


def peers_object(encoded: bytes) -> StoredObject:
    """Decode a peer's object.

    Raises ProtocolMismatch, not CorruptData, because no disk of ours is damaged.
    """
    try:
        return decode_object(encoded)
    except CorruptData as error:
        raise ProtocolMismatch(f"a peer sent what is no object: {error}") from error
