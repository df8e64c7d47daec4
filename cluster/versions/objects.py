"""The object of one key: concurrent siblings, and the context of the writes that they have replaced.

A dotted version vector set.  Merge is commutative and idempotent, and associative where no replaced operation
is forgotten; it only adds, so replicas that exchange objects in any order end equal.  Equal operation ids
stay apart in here, one sibling a dot, and are told once in the view:
docs/decisions/equal-operations-in-the-view.md.  An operation is remembered for a while after its sibling is
gone (replaced.py), so that a copy which comes back later is known as replaced.

Rules V1, V3 and V4: docs/protocol/versions.md.  Pure; the bytes are in object_codec.py.  Source: Almeida et
al. (2014); Preguiça et al., "Dotted Version Vectors" (2010).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.dots import EMPTY_VECTOR, Dot, VersionVector
from ringmill.cluster.versions.entries import newest_of_each
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.replaced import entry_of, forgets_since, knows, remember, union

__all__ = [
    "ABSENT",
    "OperationId",
    "Sibling",
    "StoredObject",
    "merge",
    "merge_all",
    "newest_first",
    "supersede",
    "supersede_chosen",
]


class OperationId(NamedTuple):
    """The name of one client write, fixed before its first send, so that a retry can be recognised.

    `session` is random, one a client; `sequence` grows within it; `birth` is the hybrid time the client had
    learned from the cluster, 0 when none.
    """

    session: int
    sequence: int
    birth: HybridTime


class Sibling(NamedTuple):
    """One value among concurrent ones.  `value` None is a tombstone: a delete that must not be forgotten."""

    dot: Dot
    value: bytes | None
    time: HybridTime
    operation: OperationId
    expires_at_ms: int = 0  # milliseconds since 1970 by the cluster's median clock; 0: never
    is_retry: bool = False  # written by a second or later attempt of its operation

    def is_expired(self, wall_ms: int) -> bool:
        return 0 < self.expires_at_ms <= wall_ms

    def outlives(self, other: Sibling) -> bool:
        ours, theirs = self.expires_at_ms, other.expires_at_ms
        return theirs != 0 and (ours == 0 or ours > theirs)

    def is_live(self, wall_ms: int) -> bool:
        """Whether a reader gets this value: it is not a tombstone and not expired."""
        return self.value is not None and not self.is_expired(wall_ms)


class StoredObject(NamedTuple):
    """Siblings sorted by dot, each dot covered by `context`.

    `forgotten` is the newest birth among the operations whose sibling is gone: an older operation that is
    not found here may have been written and superseded.  `replaced` remembers the last of them (replaced.py):
    no sibling is of one of these.
    """

    context: VersionVector = EMPTY_VECTOR
    siblings: tuple[Sibling, ...] = ()
    forgotten: HybridTime = ZERO
    replaced: bytes = b""

    @property
    def is_absent(self) -> bool:
        """Whether nothing was ever written, as far as this object knows."""
        return not self.context.entries

    @property
    def newest(self) -> HybridTime:
        """The highest hybrid time among the siblings, 0 when there are none."""
        return max((sibling.time for sibling in self.siblings), default=ZERO)

    def find(self, operation: OperationId) -> Sibling | None:
        """The sibling of an operation: of several, the one with the lowest dot."""
        return next((sibling for sibling in self.siblings if sibling.operation == operation), None)

    def has_replaced(self, operation: OperationId) -> bool:
        """Whether the operation is remembered as replaced."""
        return knows(self.replaced, *operation)

    def may_have_forgotten(self, operation: OperationId) -> bool:
        """Whether the operation, which is not found here, may have been written and superseded: it is not
        newer than all that are gone.  Of a key that was never written nothing is gone."""
        return not self.is_absent and operation.birth <= self.forgotten

    def forgets_since(self, operation: OperationId) -> bool:
        """Whether the operation may have been remembered as replaced and forgotten since it was named."""
        if not self.may_have_forgotten(operation):
            return False
        return not self.replaced or forgets_since(self.replaced, operation.birth)

    def visible(self) -> tuple[Sibling, ...]:
        """One sibling an operation, tombstones included: the one that never expires or expires last, of equal
        ones that with the lowest dot."""
        chosen: dict[OperationId, Sibling] = {}
        for sibling in self.siblings:
            known = chosen.setdefault(sibling.operation, sibling)
            if sibling.outlives(known):
                chosen[sibling.operation] = sibling
        return tuple(chosen.values())

    def live(self, wall_ms: int) -> tuple[Sibling, ...]:
        """The siblings that a reader gets at `wall_ms`, newest first; empty means not found."""
        return newest_first(sibling for sibling in self.visible() if sibling.is_live(wall_ms))

    def last(self, wall_ms: int) -> tuple[Sibling, ...]:
        """The sibling of the last writer, if a reader gets it at `wall_ms` (rule V3).

        The newest decides before anything else does: when it is a delete, or has expired, the key is not
        found.
        """
        return tuple(sibling for sibling in newest_first(self.visible())[:1] if sibling.is_live(wall_ms))

    def shown(self, policy: str, wall_ms: int) -> tuple[Sibling, ...]:
        """The siblings that a reader gets under the policy of the keyspace (rules V3 and V10)."""
        if policy == "map":  # of each entry the newest decides (rule V10)
            newest = newest_of_each(newest_first(self.visible()))
            return tuple(sibling for sibling in newest if sibling.is_live(wall_ms))
        return self.last(wall_ms) if policy == "lww" else self.live(wall_ms)


ABSENT = StoredObject()


def newest_first(siblings: Iterable[Sibling]) -> tuple[Sibling, ...]:
    """As readers are shown them: by hybrid time, the newest first, equal times by dot."""
    return tuple(sorted(siblings, key=lambda sibling: (-sibling.time, sibling.dot)))


def merge(ours: StoredObject, theirs: StoredObject) -> StoredObject:
    """The merge of two objects: a sibling is dropped only if the other object has replaced it, or has
    replaced another copy of its operation."""
    if ours == theirs or theirs.is_absent:
        return ours
    if ours.is_absent:
        return theirs
    if (winner := _overwrites(ours, theirs)) is not None:
        return winner
    in_ours = {sibling.dot for sibling in ours.siblings}
    in_theirs = {sibling.dot for sibling in theirs.siblings}
    kept, gone = _sift(
        (sibling, sibling.dot in in_theirs or not theirs.context.covers(sibling.dot))
        for sibling in ours.siblings
    )
    new, covered = _sift(
        (sibling, not ours.context.covers(sibling.dot))
        for sibling in theirs.siblings
        if sibling.dot not in in_ours
    )
    return _without_copies(
        ours.context.join(theirs.context),
        [*kept, *new],
        max(ours.forgotten, theirs.forgotten),
        (ours.replaced, theirs.replaced),
        [*gone, *covered],
    )


def _overwrites(ours: StoredObject, theirs: StoredObject) -> StoredObject | None:
    """`theirs` as it is when that is what the merge comes to, as with nearly every write: it has replaced our
    only sibling by its own."""
    if len(ours.siblings) != 1 or len(theirs.siblings) != 1:
        return None
    gone, new = ours.siblings[0], theirs.siblings[0]
    is_replaced = gone.dot != new.dot and theirs.context.covers(gone.dot) and not ours.context.covers(new.dot)
    has_all = theirs.forgotten >= ours.forgotten and theirs.forgotten >= gone.operation.birth
    if not is_replaced or not has_all or ours.context.join(theirs.context) is not theirs.context:
        return None
    if knows(ours.replaced, *new.operation):
        return None
    return theirs if theirs.replaced == remember(ours.replaced, _entry(gone)) else None


def merge_all(objects: Iterable[StoredObject]) -> StoredObject:
    """All of them merged; ABSENT when there are none."""
    merged = ABSENT
    for each in objects:
        merged = merge(merged, each)
    return merged


def supersede(present: StoredObject, context: VersionVector, sibling: Sibling) -> StoredObject:
    """The object after a write: drops what `context` covers, adds `sibling`, and merges the contexts.

    The dot must be new to `present` and to `context`: a vector that already covers it would hide the write.
    """
    assert not present.context.covers(sibling.dot), f"{sibling.dot} was used before"
    assert not context.covers(sibling.dot), f"{sibling.dot} is in the context of its own write"
    if len(present.siblings) == 1 and context.covers((old := present.siblings[0]).dot):
        forgotten = max(present.forgotten, old.operation.birth)
        changed = present.context.join(context).with_dot(sibling.dot)
        return StoredObject(changed, (sibling,), forgotten, remember(present.replaced, _entry(old)))
    kept, gone = _sift((old, not context.covers(old.dot)) for old in present.siblings)
    return _with_sibling(present, present.context.join(context), kept, sibling, gone)


def supersede_chosen(present: StoredObject, replaced: Sequence[Sibling], sibling: Sibling) -> StoredObject:
    """The object after a write that replaces these siblings of it and no others, whatever their dots."""
    assert not present.context.covers(sibling.dot), f"{sibling.dot} was used before"
    dots = {old.dot for old in replaced}
    kept, gone = _sift((old, old.dot not in dots) for old in present.siblings)
    return _with_sibling(present, present.context, kept, sibling, gone)


def _with_sibling(
    present: StoredObject,
    seen: VersionVector,
    kept: Sequence[Sibling],
    sibling: Sibling,
    gone: Sequence[Sibling],
) -> StoredObject:
    context = seen.with_dot(sibling.dot)
    return _without_copies(context, [*kept, sibling], present.forgotten, (present.replaced,), gone)


def _without_copies(
    context: VersionVector,
    kept: Sequence[Sibling],
    forgotten: HybridTime,
    memories: Sequence[bytes],
    gone: Sequence[Sibling],
) -> StoredObject:
    """The object of what was kept, less the copies of operations that are remembered as replaced.

    All memories and all that has just gone are asked before anything is forgotten.
    """
    replaced = b""
    for memory in memories:
        replaced = union(replaced, memory)
    if replaced or gone:
        operations = {sibling.operation for sibling in gone}
        kept, copies = _sift(
            (
                sibling,
                sibling.operation not in operations
                and not any(knows(memory, *sibling.operation) for memory in memories),
            )
            for sibling in kept
        )
        if copies:
            sometimes("a copy of a write that was sent twice and replaced is dropped")
        gone = [*gone, *copies]
        for sibling in gone:
            replaced = remember(replaced, _entry(sibling))
    return StoredObject(context, tuple(sorted(kept, key=_dot)), _newest_birth(forgotten, gone), replaced)


def _entry(gone: Sibling) -> bytes:
    return entry_of(gone.time, *gone.operation, is_retry=gone.is_retry)


def _dot(sibling: Sibling) -> Dot:
    return sibling.dot


def _sift(judged: Iterable[tuple[Sibling, bool]]) -> tuple[list[Sibling], list[Sibling]]:
    kept: list[Sibling] = []
    gone: list[Sibling] = []
    for sibling, stays in judged:
        (kept if stays else gone).append(sibling)
    return kept, gone


def _newest_birth(known: HybridTime, gone: Iterable[Sibling]) -> HybridTime:
    return max([known, *(sibling.operation.birth for sibling in gone)])
