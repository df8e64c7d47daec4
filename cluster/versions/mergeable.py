"""Values that merge by themselves: counters, sets and maps, as siblings of one object.

Nothing new is stored and nothing new is merged.  An object keeps every write that no other write has replaced
(objects.py).  In a keyspace of one of these policies a write is an update, which says itself what siblings it
replaces, and readers fold the siblings that are left:

- counter: one sibling for each actor that has counted, its value the total of what this actor has added, in
  decimal digits.  An actor replaces its own sibling only.  The count is their sum.
- set: one sibling for each element that was added.  Adding it again replaces it, and so does removing it:
  what is added at the same time as it is removed stays (an observed-remove set, Bieniusa et al., 2012).
- map: the same, each sibling an entry, its name and its value.  Of an entry that was put twice at the same
  time readers are shown the newest by hybrid time, and nothing once that one has expired.

A removal leaves a tombstone, which the next update of the key replaces.  Rule V10: docs/protocol/versions.md.
Layout: docs/formats/object.md.  Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.ids import Actor
from ringmill.cluster.limits import MAX_OBJECT_BYTES, MAX_TOTAL
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dots import Dot
from ringmill.cluster.versions.entries import entry_bytes, entry_data, entry_name, newest_of_each
from ringmill.cluster.versions.objects import Sibling, StoredObject, newest_first, supersede_chosen
from ringmill.cluster.versions.own_share import own_share_bytes

__all__ = [
    "Add",
    "Update",
    "PutElement",
    "PutEntry",
    "Remove",
    "after_update",
    "count_of",
    "elements_of",
    "entries_of",
]


class Update(Protocol):
    @property
    def is_repeatable(self) -> bool:
        """Whether a copy of the update that another coordinator applies is known as one (rule V4)."""
        ...

    @property
    def observes(self) -> bool:
        """Whether it replaces only what its coordinator knows, so that this one has to ask others first."""
        ...

    def replaces(self, sibling: Sibling, actor: Actor) -> bool: ...

    def value(self, replaced: Sequence[Sibling]) -> bytes | None:
        """The value of the new sibling; None leaves a tombstone.  Raises InvalidArgument."""
        ...


class Add(NamedTuple):
    """An addition to a counter.

    The sibling of an actor names its last update only: a copy would not be known.
    """

    amount: int

    @property
    def is_repeatable(self) -> bool:
        return False

    @property
    def observes(self) -> bool:
        return False

    def replaces(self, sibling: Sibling, actor: Actor) -> bool:
        return sibling.value is None or sibling.dot.actor == actor

    def value(self, replaced: Sequence[Sibling]) -> bytes:
        total = self.amount + count_of(sibling.value for sibling in replaced if sibling.value is not None)
        if abs(total) > MAX_TOTAL:
            raise InvalidArgument(f"a total of {total} is beyond the limit of {MAX_TOTAL}")
        return b"%d" % total


class PutElement(NamedTuple):
    """Add an element to a set.

    With a ttl it replaces every addition that was answered before: one that lives longer would outlive it.
    """

    element: bytes
    has_ttl: bool = False

    @property
    def is_repeatable(self) -> bool:
        return True

    @property
    def observes(self) -> bool:
        return self.has_ttl

    def replaces(self, sibling: Sibling, actor: Actor) -> bool:
        return sibling.value is None or sibling.value == self.element

    def value(self, replaced: Sequence[Sibling]) -> bytes:
        return self.element


class PutEntry(NamedTuple):
    """Set an entry of a map, in the place of every value that was answered before, whatever clocks say."""

    name: bytes
    data: bytes

    @property
    def is_repeatable(self) -> bool:
        return True

    @property
    def observes(self) -> bool:
        return True

    def replaces(self, sibling: Sibling, actor: Actor) -> bool:
        return sibling.value is None or entry_name(sibling.value) == self.name

    def value(self, replaced: Sequence[Sibling]) -> bytes:
        return entry_bytes(self.name, self.data)


class Remove(NamedTuple):
    """Remove an element, or an entry by its name, which `named` finds in a value."""

    name: bytes
    named: Callable[[bytes], bytes]

    @property
    def is_repeatable(self) -> bool:
        return True

    @property
    def observes(self) -> bool:
        return True

    def replaces(self, sibling: Sibling, actor: Actor) -> bool:
        return sibling.value is None or self.named(sibling.value) == self.name

    def value(self, replaced: Sequence[Sibling]) -> None:
        return None


def after_update(present: StoredObject, update: Update, sibling: Sibling, expiry_ms: int = 0) -> StoredObject:
    """The object after an update; `sibling` has its dot, and gets its value here.

    What has expired by `expiry_ms` goes, too: else a set whose elements all have a ttl would be full one day.
    Of a map so does what was hidden by it.
    Raises InvalidArgument when the update goes beyond a limit, CorruptData for a value of another policy.
    """
    actor = sibling.dot.actor
    gone = _gone(present, update, expiry_ms)
    replaced = [old for old in present.siblings if old.dot in gone or update.replaces(old, actor)]
    stored = supersede_chosen(present, replaced, sibling._replace(value=update.value(replaced)))
    size = _size(stored)
    own_bytes = own_share_bytes(stored, actor) if size > MAX_OBJECT_BYTES else 0
    if size > max(MAX_OBJECT_BYTES, _size(present)) or own_bytes > MAX_OBJECT_BYTES:
        raise InvalidArgument(
            f"all entries would take {size} bytes, the limit is {MAX_OBJECT_BYTES} bytes",
            hint="spread them over several keys",
        )
    if isinstance(update, Add) and len(stored.siblings) > 1:
        sometimes("several nodes have counted in one counter")
    return stored


def _gone(present: StoredObject, update: Update, expiry_ms: int) -> Collection[Dot]:
    """What no reader is shown any more since it, or what hides it, has expired.

    Of a write that was sent twice both copies are there as long as the one that readers are shown lives:
    whoever drops one drops the other, too (rule V4).
    """
    if not any(old.is_expired(expiry_ms) for old in present.siblings):
        return ()
    visible = present.visible()
    expired = {one.operation for one in visible if one.is_expired(expiry_ms)}
    names = set[bytes]()
    if isinstance(update, PutEntry) or getattr(update, "named", None) is entry_name:
        deciding = newest_of_each(newest_first(visible))
        hiding = (one.value for one in deciding if one.operation in expired)
        names = {entry_name(value) for value in hiding if value is not None}
    return {
        old.dot
        for old in present.siblings
        if old.operation in expired or (names and old.value is not None and entry_name(old.value) in names)
    }


def count_of(values: Iterable[bytes]) -> int:
    """The count of a counter.  Raises CorruptData."""
    return sum(map(_number, values))


def elements_of(values: Iterable[bytes]) -> frozenset[bytes]:
    """The elements of a set."""
    return frozenset(values)


def entries_of(newest_first: Iterable[bytes]) -> dict[bytes, bytes]:
    """The entries of a map, sorted by name, of each the newest value.  Raises CorruptData."""
    found: dict[bytes, bytes] = {}
    for value in newest_first:
        found.setdefault(entry_name(value), entry_data(value))
    return dict(sorted(found.items()))


def _size(stored: StoredObject) -> int:
    return sum(len(sibling.value) for sibling in stored.siblings if sibling.value)


def _number(value: bytes) -> int:
    if not value.removeprefix(b"-").isdigit() or len(value) > 20:
        raise CorruptData(f"a value of {len(value)} bytes is not the total of a counter")
    return int(value)
