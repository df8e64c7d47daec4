"""What is dead at a watermark: deletes, and values that have expired, as old as all owners agree on.

Every owner of a partition holds or covers each version at or below the partition's watermark.  So an object
of which nothing but dead siblings is left may be forgotten there, and a live version of that age which an
owner neither holds nor covers is one that was deleted and forgotten: it is *stale*.

Pure.  Rules P1 and P3: docs/protocol/deletes.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.cluster.ids import Actor
from ringmill.cluster.versions.dots import VersionVector
from ringmill.cluster.versions.hybrid_time import LAST_TIME, HybridTime, hybrid_time, millis
from ringmill.cluster.versions.objects import Sibling, StoredObject
from ringmill.cluster.versions.replaced import newest_time

__all__ = ["all_dead", "dead_from", "fresh_part", "is_dead", "last_time", "news", "stale", "without_stale"]


def is_dead(sibling: Sibling, mark: HybridTime) -> bool:
    """Whether nobody is shown this version any more, whatever the clock of the reader says."""
    if sibling.time > mark:
        return False
    return sibling.value is None or sibling.is_expired(millis(mark))


def last_time(stored: StoredObject) -> HybridTime:
    """The newest time that the object knows of, also of what it has replaced.

    A delete may have an older time than the value that it removed, when that one's clock was ahead.
    """
    return HybridTime(max(stored.newest, stored.forgotten, newest_time(stored.replaced)))


def all_dead(stored: StoredObject, mark: HybridTime) -> bool:
    """Whether the object may be forgotten at this watermark: nothing of it is shown to anybody, and nothing
    that it has replaced is newer than the watermark, so that a late copy of it is known as stale."""
    if last_time(stored) > mark:
        return False
    return all(is_dead(sibling, mark) for sibling in stored.siblings)


def dead_from(stored: StoredObject) -> HybridTime | None:
    """The least watermark at which the object may be forgotten; None when it never may as it is now."""
    least = last_time(stored)
    for sibling in stored.siblings:
        if sibling.value is not None:
            if not 0 < sibling.expires_at_ms <= millis(LAST_TIME):
                return None
            least = HybridTime(max(least, hybrid_time(sibling.expires_at_ms)))
    return least


def news(present: StoredObject, incoming: StoredObject, mark: HybridTime) -> Iterator[Sibling]:
    """The versions at or below the watermark that `incoming` has and `present` neither holds nor covers."""
    for sibling in incoming.siblings:
        if sibling.time <= mark and not present.context.covers(sibling.dot):
            yield sibling


def stale(present: StoredObject, incoming: StoredObject, mark: HybridTime) -> Sibling | None:
    """A version that was deleted and forgotten, or that this owner has lost; None when there is none."""
    return next((one for one in news(present, incoming, mark) if not is_dead(one, mark)), None)


def fresh_part(present: StoredObject, incoming: StoredObject, mark: HybridTime) -> StoredObject | None:
    """What of an object with stale versions an owner may take all the same; None when there is no news in it.

    The stale ones are not covered by it either: should the owner have lost one, it must not tell the others
    that it was replaced.  None as well when the context names them only together with later writes.
    """
    gone = {one.dot for one in news(present, incoming, mark) if not is_dead(one, mark)}
    kept = tuple(one for one in incoming.siblings if one.dot not in gone)
    if all(present.context.covers(one.dot) for one in kept):
        return None
    first: dict[Actor, int] = {}
    for dot in gone:
        first[dot.actor] = min(dot.counter, first.get(dot.actor, dot.counter))
    for actor, least in first.items():
        if incoming.context.counter(actor) - least >= sum(dot.actor == actor for dot in gone):
            return None
    entries = (
        (actor, min(count, first.get(actor, count + 1) - 1)) for actor, count in incoming.context.entries
    )
    context = VersionVector.of(entry for entry in entries if entry[1])
    return incoming._replace(context=context, siblings=kept)


def without_stale(kept: StoredObject, others: StoredObject, mark: HybridTime) -> StoredObject:
    """`kept` without the versions that no other owner holds or covers though they are at or below the
    watermark: these were deleted, and what knew of it is lost."""
    gone = {sibling.dot for sibling in news(others, kept, mark)}
    if not gone:
        return kept
    return kept._replace(siblings=tuple(one for one in kept.siblings if one.dot not in gone))
