"""A member's lost disk is replaced by a new one: the next document, and the plan that is shown before.

The document names the new disk wherever it named the former one.  Each row that the member owns changes, so
its row epoch is raised: no tally and no round of a register counts the two disks as one.

Pure.  Rules T2 and T8: docs/protocol/topology.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import FIRST_EPOCH, DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ring.plans.copy_sources import estimated_shares, least_acks, owners_needed
from ringmill.cluster.ring.topology import Owner, Row, Topology, choose_voters
from ringmill.cluster.ring.topology_entries import NORMAL

__all__ = [
    "ReplacementPlan",
    "check_safe",
    "estimated_keys",
    "is_newly_seated",
    "plan_replacement",
    "replaced",
]


@dataclass(frozen=True, slots=True)
class ReplacementPlan:
    """What a replacement means, partition by partition.

    `size_bytes` is an estimate from what the other owners hold in all.  A partition of `short` has fewer
    whole other owners than it takes to know each acknowledged write; `short_keys` estimates their keys.
    """

    node: NodeId
    former: DiskId
    disk: DiskId
    partitions: int
    size_bytes: int
    short: tuple[PartitionId, ...]
    short_keys: int
    missing: tuple[NodeId, ...]  # owners of these partitions that are down, or not filled themselves
    least_w: int

    @property
    def is_made(self) -> bool:
        """The topology names the new disk already."""
        return self.former == self.disk


def replaced(topology: Topology, node: NodeId, former: DiskId, disk: DiskId) -> Topology | None:
    """With `disk` in place of the lost disk `former`; None when the member has it.

    Raises InvalidArgument when there is no such member; Conflict when it has another disk than these, so that
    a request that comes late does not put back a disk that was replaced in turn.
    """
    member = topology.member(node)
    if member.disk == disk:
        return None
    if member.disk != former:
        raise Conflict(
            f"the topology names disk {member.disk} of {node}, not {former}: it was replaced meanwhile",
            hint=f"`ringmill cluster replace {node} --dry-run` shows how things are",
        )
    epoch, seat = Epoch(topology.epoch + 1), Owner(node, disk)
    following = replace(
        topology,
        epoch=epoch,
        members=tuple(replace(each, disk=disk) if each is member else each for each in topology.members),
        rows=tuple(_reseated(row, member.seat, seat, epoch) for row in topology.rows),
        voters=_exchanged(topology.voters, member.seat, seat),
    )
    if member.is_given_up:  # so it has no vote; the votes that were given up with it are dealt out again
        whole = [each for each in following.members if not each.is_given_up]
        following = replace(following, voters=choose_voters(whole))
    following.check()
    return following


def is_newly_seated(former: Topology | None, topology: Topology, seat: Owner) -> bool:
    """Whether a document gives this seat a row whose acknowledged writes its disk never had.

    A seat of the first document begins empty, as its rows do.  A node that had no document before cannot tell
    why a row has changed since the first one, and then takes it for one that it lacks.
    """
    if former is None:
        return any(seat in row.owners and row.row_epoch > FIRST_EPOCH for row in topology.rows)
    both = zip(former.rows, topology.rows, strict=True)
    owned = [(before, after) for before, after in both if seat in after.owners]
    return _may_be_seated_again(former, topology, owned) or any(
        after is not before
        and (seat not in before.seats or before.copy_epoch_of(seat.node) != after.copy_epoch_of(seat.node))
        for before, after in owned
    )


def _may_be_seated_again(former: Topology, topology: Topology, owned: Sequence[tuple[Row, Row]]) -> bool:
    """Whether a disk with these rows may have lost its place to another one, and got it back, by documents
    that its node has skipped.

    Each of the two changes all of its rows, and shows nothing but row epochs.  So does the replacement of
    somebody who owns the same ones, but that shows in the rows.  Known limit: where each row shows another
    change, this says no, though the disk may have been replaced besides.  A cluster that was made of the
    former one has changed all rows (T9).
    """
    second = former.epoch + 2
    if topology.cluster != former.cluster or topology.epoch < second or not owned:
        return False
    return all(after.row_epoch >= second for _, after in owned) and any(
        replace(before, row_epoch=after.row_epoch) == after for before, after in owned
    )


def plan_replacement(
    topology: Topology,
    node: NodeId,
    disk: DiskId,
    *,
    whole: Collection[NodeId],
    sizes: Mapping[NodeId, int],
    counts: Mapping[NodeId, int],
) -> ReplacementPlan:
    """The plan, from who is up and not being filled itself, and the bytes and the keys that members hold.

    Raises InvalidArgument when there is no such member.
    """
    member = topology.member(node)
    least_w = least_acks(topology)
    shares = {each: sizes[each] / max(1, topology.owned_by(each)) for each in sizes}
    short: list[PartitionId] = []
    missing: dict[NodeId, None] = {}
    size = 0.0
    owned = [(PartitionId(number), row) for number, row in enumerate(topology.rows) if node in row.whole]
    for partition, row in owned:
        others = [each for each in row.whole if each != node]
        sources = [each for each in others if each in whole]
        if not others or len(sources) < min(owners_needed(row, least_w), len(others)):
            short.append(partition)
            missing.update(dict.fromkeys(each for each in others if each not in whole))
        size += max((shares.get(each, 0.0) for each in others), default=0.0)
    short_keys = estimated_keys(topology, short, counts)
    return ReplacementPlan(
        node, member.disk, disk, len(owned), round(size), tuple(short), short_keys, tuple(missing), least_w
    )


def estimated_keys(topology: Topology, partitions: Collection[int], counts: Mapping[NodeId, int]) -> int:
    """How many keys these partitions have, from how many each member holds in all."""
    shares = estimated_shares(topology, counts)
    return round(sum(shares[number] for number in partitions))


def check_safe(plan: ReplacementPlan, *, accepts_loss: bool = False) -> None:
    """Raise InvalidArgument for a plan that cannot bring back all acknowledged writes.

    With `accepts_loss` only for one that cannot bring back anything: nobody else owns a partition.
    """
    if not plan.short or (accepts_loss and plan.missing):
        return
    if not plan.missing:
        raise InvalidArgument(
            f"{plan.node} is the only owner of {len(plan.short)} partitions: these are lost with its disk",
            hint="give the node its former folder back; to begin anew without these keys is not possible yet",
        )
    raise InvalidArgument(
        f"{len(plan.short)} of the {plan.partitions} partitions of {plan.node} cannot be filled now: "
        f"{', '.join(plan.missing)} must be up and whole to know every acknowledged write",
        hint=f"bring {', '.join(plan.missing)} back first; if that cannot be, --accept-data-loss goes on "
        "without",
    )


def _reseated(row: Row, former: Owner, seat: Owner, epoch: Epoch) -> Row:
    """A joiner's disk is lost with what was filled: its move begins anew (rule M3)."""
    if former not in (*row.seats, *row.wanted):
        return row
    wanted = _exchanged(row.wanted, former, seat)
    if row.joiner == former:
        copies = row.copy_epochs[: len(row.owners)]
        return Row(row.owners, NORMAL, epoch, copies, wanted=wanted)
    leaver = seat if row.leaver == former else row.leaver
    owners = _exchanged(row.owners, former, seat)
    return replace(row, owners=owners, row_epoch=epoch, leaver=leaver, wanted=wanted)


def _exchanged(seats: tuple[Owner, ...], former: Owner, seat: Owner) -> tuple[Owner, ...]:
    return tuple(seat if each == former else each for each in seats)
