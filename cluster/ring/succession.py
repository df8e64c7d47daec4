"""What one topology document may look like beside an earlier one of the same cluster.

A change is a function from a document to the next one.  What must hold between any two documents of a
cluster is checked here, by the voters before they accept a document and by every node before it adopts one.
What a change may do beyond that is the change's own matter (cluster/ring/keyspaces/keyspace_changes.py).

Rules T1 and T2: docs/protocol/topology.md; M1: docs/protocol/moves.md.
"""

from __future__ import annotations

from dataclasses import replace

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import Epoch, PartitionId
from ringmill.cluster.ring.moves import check_arrow
from ringmill.cluster.ring.topology import KeyspaceEntry, Row, Topology

__all__ = ["check_follows", "check_next", "with_keyspaces"]


def with_keyspaces(topology: Topology, keyspaces: tuple[KeyspaceEntry, ...]) -> Topology:
    """The next document, which differs in its keyspaces alone.  Raises InvalidArgument."""
    following = replace(topology, epoch=Epoch(topology.epoch + 1), keyspaces=keyspaces)
    following.check()
    return following


def check_next(older: Topology, newer: Topology) -> None:
    """Raise InvalidArgument unless `newer` may be decided on as the epoch after `older`."""
    if newer.epoch != older.epoch + 1:
        raise InvalidArgument(f"epoch {newer.epoch} does not come next after epoch {older.epoch}")
    if newer.cluster != older.cluster:
        raise _another(older, newer)
    check_follows(older, newer)
    for number, before, after in _changed_rows(older, newer):
        check_arrow(number, before, after)


def check_follows(older: Topology, newer: Topology) -> None:
    """Raise InvalidArgument unless `newer` can have come from `older`, in one epoch or in several.

    It may be of a cluster that was made of the older one's by an operator, also by several recoveries (T9).
    """
    if older.cluster not in (newer.cluster, *newer.formers):
        raise _another(older, newer)
    if newer.epoch <= older.epoch:
        raise InvalidArgument(f"epoch {newer.epoch} does not follow epoch {older.epoch}")
    if (newer.name, newer.partitions, newer.n) != (older.name, older.partitions, older.n):
        raise InvalidArgument("the name, the number of partitions and n of a cluster cannot be changed")
    _check_keyspaces(older, newer)
    _check_tokens(older, newer)
    for number, before, after in _changed_rows(older, newer):
        _check_row(number, before, after, older.epoch)


def _changed_rows(older: Topology, newer: Topology) -> list[tuple[PartitionId, Row, Row]]:
    """Without those that are the same object, as most are: cluster/ring/document.py."""
    return [
        (PartitionId(number), before, after)
        for number, (before, after) in enumerate(zip(older.rows, newer.rows, strict=True))
        if after is not before
    ]


def _check_keyspaces(older: Topology, newer: Topology) -> None:
    """An id is never given to another keyspace, as stored keys carry it."""
    known = {keyspace.id: keyspace for keyspace in older.keyspaces}
    for keyspace in newer.keyspaces:
        before = known.get(keyspace.id)
        if before is None and keyspace.id.epoch <= older.epoch:
            raise InvalidArgument(
                f"keyspace {keyspace.name!r} has an id of epoch {keyspace.id.epoch}, and it was not there in "
                f"epoch {older.epoch}"
            )
        if before is not None and (keyspace.kind, keyspace.policy) != (before.kind, before.policy):
            raise InvalidArgument(f"kind and policy of keyspace {keyspace.name!r} cannot be changed")


def _check_tokens(older: Topology, newer: Topology) -> None:
    """What a token opens is never widened, and one that was revoked has no force again (rule F8)."""
    for token in newer.access.tokens:
        before = older.access.find(token.id)
        if before is not None and token != before and token != replace(before, is_revoked=True):
            raise InvalidArgument(f"token {token.id} is another one than in epoch {older.epoch}")


def _another(older: Topology, newer: Topology) -> InvalidArgument:
    return InvalidArgument(
        f"cluster {newer.cluster} ({newer.name}) is another one than {older.cluster} ({older.name})"
    )


def _check_row(number: int, before: Row, after: Row, epoch: Epoch) -> None:
    """A row is as it was, or says that it has changed since (rule T5); what is only wanted may differ."""
    if after.row_epoch > epoch or after == before:
        return
    if _unplanned(after) != _unplanned(before):
        raise InvalidArgument(f"the row of partition {number} changed, and its row epoch did not")


def _unplanned(row: Row) -> tuple[object, ...]:
    """All but what is wanted."""
    return row.owners, row.phase, row.row_epoch, row.copy_epochs, row.joiner, row.leaver
