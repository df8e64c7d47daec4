"""Partitions move one seat at a time: each arrow is a function from a topology document to the next one.

    normal(old) -> joint-1 -> joint-2 -> normal(new)

A plan gives each partition the owners that it is to have (Row.wanted).  The seat that joins a partition opens
its move, says when its copy is filled, and takes its place; an abort goes back to the old owners.  Everything
that has to be known to go on is in the document, so any process may stop at any time.

None in place of a document means that there is nothing to change.  Pure.  Rules M1, M2, M4,
M6 and M7: docs/protocol/moves.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ring.plans.rebalancing import seat_changes
from ringmill.cluster.ring.topology import MAX_VOTERS, Topology, choose_voters
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2, NORMAL, Member, Owner, Row

__all__ = [
    "aborted",
    "advanced",
    "check_arrow",
    "given_up",
    "is_to_leave",
    "left",
    "may_leave",
    "paused",
    "with_plan",
    "readers_barrier",
    "sources_for",
]


def with_plan(topology: Topology, members: Sequence[Member], wanted: Sequence[Sequence[NodeId]]) -> Topology:
    """With these members, and the owners that a plan gives each partition, in ring order.

    Members that are to leave stay until they own nothing.  Raises Conflict while an earlier plan is under
    way, InvalidArgument for what a document may not hold.
    """
    if topology.is_moving:
        raise Conflict(
            "partitions are moving by an earlier plan",
            hint="`ringmill cluster moves` shows it; wait for its end, or abort it",
        )
    seats = {member.id: member.seat for member in members}
    if gone := [member.id for member in topology.members if member.id not in seats]:
        raise InvalidArgument(f"{', '.join(gone)} cannot be left out: a member leaves when it owns nothing")
    rows = []
    for row, nodes in zip(topology.rows, wanted, strict=True):
        owners = tuple(seats[node] for node in nodes)
        rows.append(row if set(owners) == set(row.owners) else replace(row, wanted=owners))
    draft = replace(topology, members=tuple(members), rows=tuple(rows), is_paused=False)
    return _settled(_next(draft, lambda _, row: row))


def advanced(
    topology: Topology,
    seat: Owner,
    *,
    filled: Mapping[PartitionId, Epoch],
    adopted: Mapping[PartitionId, Epoch],
    most: int,
) -> Topology | None:
    """Every move of this seat goes on as far as it can, in one epoch.

    `filled` and `adopted` name partitions by row epoch: those whose copy is filled go from joint-1 to
    joint-2, those whose old owners know of joint-2 get the seat as an owner.  Further moves are opened, in
    ring order, until `most` copies are being filled; none while paused.
    """
    epoch = Epoch(topology.epoch + 1)
    zones = {member.id: member.zone for member in topology.members}
    left = 0 if topology.is_paused else most
    left -= sum(
        row.joiner == seat and row.phase == JOINT_1 and filled.get(PartitionId(number)) != row.row_epoch
        for number, row in enumerate(topology.rows)
    )

    def advance(partition: PartitionId, row: Row) -> Row:
        nonlocal left
        if row.joiner == seat and row.phase == JOINT_1 and filled.get(partition) == row.row_epoch:
            return replace(row, phase=JOINT_2, row_epoch=epoch)
        if row.joiner == seat and row.phase == JOINT_2 and adopted.get(partition) == row.row_epoch:
            return _with_joiner(row, epoch)
        if left > 0 and _may_open(row, seat):
            left -= 1
            return _opened(row, seat, epoch, zones)
        return row

    changed = _changed(topology, advance)
    return None if changed is None else _settled(changed)


def is_to_leave(topology: Topology, node: NodeId) -> bool:
    """Whether a member is asked to leave, and has not left."""
    return any(member.id == node and member.state == "leaving" for member in topology.members)


def may_leave(topology: Topology, seat: Owner) -> bool:
    """Whether a member is to leave and has nothing any more that a row names."""
    if all(member.seat != seat or member.state != "leaving" for member in topology.members):
        return False
    return all(seat not in (*row.seats, *row.wanted) for row in topology.rows)


def left(topology: Topology, seat: Owner) -> Topology | None:
    """Without a member that is to leave, and says that it owes nothing to anybody."""
    if not may_leave(topology, seat):
        return None
    members = tuple(member for member in topology.members if member.seat != seat)
    return _settled(replace(topology, epoch=Epoch(topology.epoch + 1), members=members))


def given_up(topology: Topology, nodes: Collection[NodeId]) -> Topology | None:
    """With members that are to leave and whose disks are gone by now: nobody waits for what they owe."""
    members = tuple(
        replace(each, state="gone") if each.id in nodes and each.state == "leaving" else each
        for each in topology.members
    )
    if members == topology.members:
        return None
    return _settled(replace(topology, epoch=Epoch(topology.epoch + 1), members=members))


def aborted(topology: Topology) -> Topology | None:
    """The plan is given up: each partition stays with the owners that it has now.

    Who is to leave and has nothing any more goes on leaving: perhaps an earlier plan has said so.
    """
    epoch = Epoch(topology.epoch + 1)
    if not topology.is_moving:
        return None
    changed = _next(topology, lambda _, row: _gone_back(row, epoch))
    members = tuple(
        replace(member, state="up")
        if member.state in ("leaving", "gone") and not may_leave(topology, member.seat)
        else member
        for member in changed.members
    )
    return _settled(replace(changed, members=members))


def paused(topology: Topology, *, is_paused: bool) -> Topology | None:
    """No further move is begun, or moves go on.  What is joint already goes on to its end."""
    if topology.is_paused == is_paused:
        return None
    if is_paused and not topology.is_moving:
        raise InvalidArgument("nothing moves, so there is nothing to pause")
    return _checked(replace(topology, epoch=Epoch(topology.epoch + 1), is_paused=is_paused))


def sources_for(topology: Topology, row: Row) -> int:
    """How many of the old owners a joiner has to read whole, so that one of them has each write that was
    acknowledged, and each value that a strict read has shown (rule M4)."""
    size = row.size
    objects = [keyspace for keyspace in topology.keyspaces if keyspace.kind == "objects"]
    levels = [max(size - row.level(each.w) + 1, row.level(each.r)) for each in objects]
    return max([size // 2 + 1, *levels])


def readers_barrier(topology: Topology, row: Row) -> int:
    """How many of the old owners have to know of joint-2, so that no read asks these alone (rule M2)."""
    size = row.size
    objects = [keyspace for keyspace in topology.keyspaces if keyspace.kind == "objects"]
    least_r = min([size // 2 + 1, *(row.level(each.r) for each in objects)])
    return size - least_r + 1


def check_arrow(partition: int, before: Row, after: Row) -> None:
    """Raise InvalidArgument unless a row may become this in one epoch."""
    if before == after or _is_arrow(before, after):
        return
    raise InvalidArgument(
        f"the row of partition {partition} cannot go from {before.phase} ({', '.join(before.nodes)}) to "
        f"{after.phase} ({', '.join(after.nodes)}) in one epoch"
    )


def _is_arrow(before: Row, after: Row) -> bool:
    stays = before.whole == after.whole  # perhaps on another disk (rule T8)
    kept = {node: before.copy_epoch_of(node) for node in before.nodes}
    if any(kept.get(node, after.row_epoch) != after.copy_epoch_of(node) for node in after.nodes):
        return False
    if after.phase == NORMAL:
        taken_place = before.phase == JOINT_2 and {*after.owners} == {*before.following}
        return stays or taken_place
    if after.phase == JOINT_1 and before.phase == NORMAL:
        return stays and after.joiner in before.wanted
    if after.phase == JOINT_1 and before.phase == JOINT_2:
        return False
    return stays and before.joiner == after.joiner and _node(before.leaver) == _node(after.leaver)


def _node(seat: Owner | None) -> NodeId | None:
    return None if seat is None else seat.node


def _with_joiner(row: Row, epoch: Epoch) -> Row:
    """The joiner in the place of the leaver, or behind the others."""
    assert row.joiner is not None, "nobody joins"
    owners = row.following
    if {*owners} == {*row.wanted}:
        owners = row.wanted  # ring order
    copies = tuple(row.copy_epoch_of(owner.node) for owner in owners)
    wanted = () if owners == row.wanted else row.wanted
    return Row(owners, NORMAL, epoch, copies, wanted=wanted)


def _may_open(row: Row, seat: Owner) -> bool:
    return not row.is_joint and seat in row.wanted and seat not in row.owners


def _opened(row: Row, seat: Owner, epoch: Epoch, zones: Mapping[NodeId, str]) -> Row:
    """One owner leaves for one that joins, of its zone if there is one, unless the row gets more owners."""
    wanted = [each.node for each in row.wanted]
    changes = {change.joiner: change.leaver for change in seat_changes(row.whole, wanted, zones)}
    leaver = next((owner for owner in row.owners if owner.node == changes[seat.node]), None)
    return replace(
        row,
        phase=JOINT_1,
        row_epoch=epoch,
        copy_epochs=(*row.copy_epochs, epoch),
        joiner=seat,
        leaver=leaver,
    )


def _gone_back(row: Row, epoch: Epoch) -> Row:
    if not row.is_joint:
        return replace(row, wanted=())
    return Row(row.owners, NORMAL, epoch, row.copy_epochs[: len(row.owners)])


def _settled(topology: Topology) -> Topology:
    """Who was to leave and owns nothing is no member any more; who was to join has all that it gets.

    Votes of those who leave are dealt out, and a cluster that grew has as many as it can use.
    """
    named = {seat for row in topology.rows for seat in (*row.seats, *row.wanted)}
    owned = {seat for row in topology.rows for seat in row.owners}
    coming = {
        seat
        for row in topology.rows
        for seat in (*row.wanted, *([row.joiner] if row.joiner else []))
        if seat not in row.owners
    }
    members: list[Member] = []
    for member in topology.members:
        is_gone = member.state in ("gone", "joining") and member.seat not in named
        if is_gone and len(topology.members) > topology.n:
            continue
        settles = member.state == "joining" and member.seat in owned and member.seat not in coming
        members.append(replace(member, state="up") if settles else member)
    settled = replace(topology, members=tuple(members), is_paused=topology.is_paused and topology.is_moving)
    return _checked(replace(settled, voters=_voters(settled)))


def _voters(topology: Topology) -> tuple[Owner, ...]:
    """The present voters that stay, and as many more as an odd number up to 5 has room for."""
    able = [each for each in topology.members if each.state == "up" and not each.is_given_up]
    staying = [voter for voter in topology.voters if topology.has_seat(voter)]
    staying = [each for each in staying if topology.member(each.node).state not in ("leaving", "gone")]
    for seat in choose_voters(able) if able else ():
        if seat not in staying:
            staying.append(seat)
    number = min(MAX_VOTERS, (len(staying) - 1) | 1) if staying else 0
    return tuple(staying[:number]) or topology.voters


def _changed(topology: Topology, change: Callable[[PartitionId, Row], Row]) -> Topology | None:
    following = _next(topology, change)
    return None if following.rows == topology.rows else _checked(following)


def _next(topology: Topology, change: Callable[[PartitionId, Row], Row]) -> Topology:
    rows = tuple(change(PartitionId(number), row) for number, row in enumerate(topology.rows))
    return replace(topology, epoch=Epoch(topology.epoch + 1), rows=rows)


def _checked(topology: Topology) -> Topology:
    topology.check()
    return topology
