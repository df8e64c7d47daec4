"""What a node takes for dropped, and which copies it looks through for that (rule P6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId, PartitionId, keyspace_bytes
from ringmill.cluster.ring.keyspaces.keyspace_changes import NewKeyspace, created, dropped
from ringmill.cluster.ring.topology import Member, Row, Topology, first_topology
from ringmill.node.replica.purging.gone_keyspaces import MOST_SOUGHT, GoneKeyspaces
from ringmill.node.replica.stored_key import Copy, prefix_end

N1 = NodeId("n1")
FIRST = first_topology(
    "demo",
    [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, 5)],
    partitions=16,
)


def having(topology: Topology, name: str) -> Topology:
    following = created(topology, NewKeyspace(name))
    assert following is not None
    return following


def without(topology: Topology, name: str) -> Topology:
    following = dropped(topology, name, may_be_done=False)
    assert following is not None
    return following


def swept(gone: GoneKeyspaces) -> None:
    for copy, asked in list(gone.unswept.items()):
        gone.note_swept(copy, asked)
    gone.note_hints_swept(gone.hints_unswept)
    gone.found.clear()


def own(topology: Topology) -> set[Copy]:
    return {
        Copy(PartitionId(at), row.copy_epoch_of(N1))
        for at, row in enumerate(topology.rows)
        if N1 in row.whole
    }


def test_all_own_copies_are_looked_through_at_a_start_and_after_each_drop() -> None:
    gone = GoneKeyspaces(N1)
    gone.take(FIRST)
    assert {*gone.unswept} == own(FIRST) and gone.hints_unswept and gone.found.is_set()
    swept(gone)
    carts = having(FIRST, "carts")
    gone.take(carts)
    assert not gone.unswept and not gone.found.is_set(), "nothing was dropped"
    gone.take(after := without(carts, "carts"))
    assert {*gone.unswept} == own(after) and gone.hints_unswept and gone.found.is_set()


def test_copies_are_looked_through_for_what_was_made_and_dropped_between_two_documents() -> None:
    gone = GoneKeyspaces(N1)
    gone.take(FIRST)
    swept(gone)
    carts = having(FIRST, "carts")
    id = carts.keyspace_named("carts").id
    gone.check(id)  # a peer that knows it may bring it
    gone.take(without(carts, "carts"))
    assert {*gone.unswept} == own(FIRST) and gone.hints_unswept and gone.found.is_set()
    [only] = {one for sought in gone.unswept.values() for one in sought}
    assert only.start <= keyspace_bytes(id) < only.end, "and for nothing older"
    assert not only.start <= keyspace_bytes(KeyspaceId(Epoch(1), 9)) < only.end
    with pytest.raises(InvalidArgument, match="was dropped"):
        gone.check(id)


def test_a_copy_that_waits_long_is_looked_through_as_a_whole() -> None:
    gone, topology = GoneKeyspaces(N1), FIRST
    gone.take(FIRST)
    for _ in range(3 * MOST_SOUGHT):
        gone.take(topology := having(topology, "carts"))
        gone.take(topology := without(topology, "carts"))
    assert all(len(sought) <= MOST_SOUGHT for sought in gone.unswept.values())
    swept(gone)
    for _ in range(MOST_SOUGHT + 1):
        gone.take(topology := having(topology, "carts"))
        gone.take(topology := without(topology, "carts"))
    assert all([one[1:] for one in sought] == [(b"", b"")] for sought in gone.unswept.values())


def test_a_drop_that_comes_while_copies_are_looked_through_is_not_taken_for_done() -> None:
    gone = GoneKeyspaces(N1)
    gone.take(both := having(having(FIRST, "carts"), "books"))
    swept(gone)
    gone.take(one := without(both, "carts"))
    asked, hints = dict(gone.unswept), gone.hints_unswept
    gone.take(without(one, "books"))
    for copy, number in asked.items():
        gone.note_swept(copy, number)
    gone.note_hints_swept(hints)
    assert {*gone.unswept} == own(FIRST) and gone.hints_unswept
    swept(gone)
    assert not gone.unswept and not gone.hints_unswept


def test_a_copy_that_joins_is_looked_through_once_it_is_whole() -> None:
    gone, at = GoneKeyspaces(N1), next(at for at, row in enumerate(FIRST.rows) if N1 not in row.nodes)
    gone.take(FIRST)
    swept(gone)
    seats = [member.seat for member in FIRST.members if member.id == N1]
    row = FIRST.rows[at]
    owners = (*row.owners[:-1], seats[0])
    moved = Row(owners, row.phase, Epoch(2), (*row.copy_epochs[:-1], Epoch(2)))
    rows = tuple(moved if number == at else each for number, each in enumerate(FIRST.rows))
    gone.take(replace(FIRST, epoch=Epoch(2), rows=rows))
    assert {*gone.unswept} == {Copy(PartitionId(at), Epoch(2))}
    gone.take(replace(FIRST, epoch=Epoch(3)))
    assert not gone.unswept, "it has left again"


def test_writes_of_what_was_dropped_meanwhile_are_refused_and_no_others() -> None:
    gone, carts = GoneKeyspaces(N1), having(FIRST, "carts")
    gone.take(carts)
    id = carts.keyspace_named("carts").id
    gone.check(id)
    gone.take(without(carts, "carts"))
    with pytest.raises(InvalidArgument, match="was dropped") as refused:
        gone.check(id)
    assert refused.value.outcome == "failed"
    gone.check(KeyspaceId(Epoch(1), 0))
    gone.check(later := KeyspaceId(Epoch(90), 0))
    assert gone.has(id) and not gone.has(later)
    gone.take(replace(carts, epoch=Epoch(9000)))  # another cluster was made of one that knew it (rule T9)
    gone.check(id)
    assert not gone.has(id)


def test_a_range_is_of_a_dropped_keyspace_only_when_all_of_it_is() -> None:
    gone, carts = GoneKeyspaces(N1), having(FIRST, "carts")
    gone.take(carts)
    gone.take(without(carts, "carts"))
    dead, alive = keyspace_bytes(carts.keyspace_named("carts").id), keyspace_bytes(KeyspaceId(Epoch(1), 0))
    assert gone.covers(dead, prefix_end(dead)) and gone.covers(dead + b"a", dead + b"b")
    assert not gone.covers(dead, b"") and not gone.covers(dead, prefix_end(dead) + b"x")
    assert not gone.covers(alive, prefix_end(alive)) and not gone.covers(alive + b"z", dead + b"a")
    assert not gone.covers(b"", b"") and not gone.covers(dead[:5], dead + b"a")
