"""A cluster most of which is gone goes on as another cluster: the document, and what it may cost.

Nobody can decide on a next epoch any more (T2), or too few are left to note that one of them has started
(I3).  So an operator names the members that are gone permanently, and those that are left take up a document
in which the lost disks have no place.  It has a new cluster id, and an epoch and row epochs far above all
that the lost ones can have known: what they still send is refused, and their old disks are foreign.  The same
word on the same document makes the same document.

Pure.  Rule T9: docs/protocol/topology.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import ClusterId, DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ring.replacement import estimated_keys
from ringmill.cluster.ring.topology import MAX_FORMERS, Topology, choose_voters, cluster_id
from ringmill.cluster.ring.topology_entries import GIVEN_UP, JOINT_2, NORMAL, Owner, Row

__all__ = ["EPOCHS_PASSED", "RecoveryPlan", "check_recoverable", "is_recovered", "plan_recovery", "recovered"]

EPOCHS_PASSED: Final = 1000
"""More than members that are cut off will decide on among themselves."""
_NAMES_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """What it costs to go on without the members `lost`, and those that were given up before.

    Of `gone` partitions no owner is left.  Of `short` ones fewer are left than it takes to know each write
    that `least_w` owners have acknowledged.  The keys are estimates.  In a cluster that `is_sloppy`, other
    members may have been among those that acknowledged.  One that `is_made` goes on without these already.
    Members that are left and have `unfilled` partitions, a number each, are counted as if they had
    nothing: nobody tells which ones these are.
    """

    name: str
    lost: tuple[NodeId, ...]
    left: tuple[NodeId, ...]
    lost_voters: int
    voters: int
    gone: tuple[PartitionId, ...]
    short: tuple[PartitionId, ...]
    gone_keys: int
    short_keys: int
    least_w: int
    is_sloppy: bool
    is_made: bool
    unfilled: Mapping[NodeId, int] = field(default_factory=dict)


def recovered(topology: Topology, lost: Collection[NodeId]) -> Topology:
    """The document by which those that are left go on.  Raises InvalidArgument as `check_recoverable`.

    It is the same whether or not the members that were given up before are named again.
    """
    check_recoverable(topology, lost)
    assert not is_recovered(topology, lost), "asked before"
    lost = _all_lost(topology, lost)
    epoch = Epoch(topology.epoch + EPOCHS_PASSED * (1 + _number_of(lost)))
    nobody = {node: Owner(node, _nobodys_disk(topology, node)) for node in lost}
    stay = [replace(each, state="up") for each in topology.members]  # as the plan is given up
    members = tuple(replace(each, disk=nobody[each.id].disk) if each.id in nobody else each for each in stay)
    following = replace(
        topology,
        epoch=epoch,
        cluster=ClusterId(""),
        formers=(topology.cluster, *topology.formers)[:MAX_FORMERS],
        members=members,
        rows=tuple(
            Row(  # nothing moves any more, as there may be nobody to go on with it
                tuple(nobody.get(each.node, each) for each in owners),
                NORMAL,
                epoch,
                tuple(row.copy_epoch_of(each.node) for each in owners),
            )
            for row, owners in ((row, _going_on(row, lost)) for row in topology.rows)
        ),
        voters=choose_voters([each for each in members if not each.is_given_up]),
        used_tokens=(),  # join tokens of the former cluster add nobody to this one
    )
    following = replace(following, cluster=cluster_id(following))
    following.check()
    return following


def _going_on(row: Row, lost: Collection[NodeId]) -> tuple[Owner, ...]:
    """The owners that a partition goes on with, lost ones among them.

    A filled joiner that is left takes the place of an owner that is lost: it has what was acknowledged before
    the joint (M4), and its ack may have counted since (M1).
    """
    gone = [owner for owner in row.owners if owner.node in lost]
    if row.joiner is None or row.phase != JOINT_2 or row.joiner.node in lost or not gone:
        return row.owners
    place = row.leaver if row.leaver in gone else gone[0]
    return tuple(row.joiner if owner == place else owner for owner in row.owners)


def check_recoverable(topology: Topology, lost: Collection[NodeId]) -> None:
    """Raise InvalidArgument unless these are members, not all of them, without whom it does not go on.

    They have most of the votes, or are as many as leave fewer than a start needs to be noted by.  Not either
    when the cluster goes on without these already.
    """
    for node in lost:
        topology.member(node)
    if is_recovered(topology, lost):
        return
    if len(_all_lost(topology, lost)) == len(topology.members):
        raise InvalidArgument("no member would be left", hint="begin anew: `ringmill cluster form`")
    votes = sum(voter in lost for voter in topology.voter_nodes)
    if 2 * votes < len(topology.voters) and not _leaves_too_few(topology, lost):
        raise InvalidArgument(
            f"{', '.join(sorted(set(lost)))}: only {votes} of the {len(topology.voters)} votes, "
            "so the others can still decide",
            hint="`ringmill cluster replace NODE` gives a lost disk its place back",
        )


def _leaves_too_few(topology: Topology, lost: Collection[NodeId]) -> bool:
    """Whether those that are left could not serve again, once they have all stopped (I3): a start needs half
    of the members beside itself, as cluster/membership/start_rules.py has it."""
    left = sum(node not in lost for node in topology.standing)
    return left - 1 < len(topology.standing) // 2


def is_recovered(topology: Topology, lost: Collection[NodeId]) -> bool:
    """Whether the cluster goes on without these already, none of which has a disk again."""
    return bool(topology.formers) and bool(lost) and {*lost} <= _all_lost(topology, ())


def _all_lost(topology: Topology, lost: Collection[NodeId]) -> frozenset[NodeId]:
    """With those that were given up before, which nobody has to name again."""
    return frozenset(lost).union(each.id for each in topology.members if each.is_given_up)


def plan_recovery(
    topology: Topology,
    lost: Collection[NodeId],
    counts: Mapping[NodeId, int],
    unfilled: Mapping[NodeId, int] | None = None,
) -> RecoveryPlan:
    """`counts`: how many keys each member that is left holds; `unfilled`: of how many partitions it has yet
    to be filled from others.  Raises InvalidArgument."""
    check_recoverable(topology, lost)
    without = _all_lost(topology, lost)
    empty = {node: count for node, count in (unfilled or {}).items() if count and node not in without}
    have = {each.id for each in topology.members}.difference(without, empty)
    w = min((each.w for each in topology.keyspaces if each.kind == "objects"), default=topology.n)
    gone: list[PartitionId] = []
    short: list[PartitionId] = []
    for number, row in enumerate(topology.rows):
        left = sum(owner.node in have for owner in _going_on(row, without))
        if not left:
            gone.append(PartitionId(number))
        elif left < len(row.owners) - min(w, row.size // 2 + 1) + 1:
            short.append(PartitionId(number))
    mean = max((count / max(1, topology.owned_by(node)) for node, count in counts.items()), default=0.0)
    return RecoveryPlan(
        topology.name,
        tuple(sorted(set(lost))),
        tuple(each.id for each in topology.members if each.id not in without),
        sum(voter in lost for voter in topology.voter_nodes),
        len(topology.voters),
        tuple(gone),
        tuple(short),
        round(mean * len(gone)),
        estimated_keys(topology, short, counts),
        w,
        any(each.is_sloppy for each in topology.keyspaces),
        is_recovered(topology, lost),
        empty,
    )


def _number_of(lost: Collection[NodeId]) -> int:
    """Two recoveries that give up different members have epochs far apart, but for a chance of 1 in 16
    million."""
    named = blake2b(" ".join(sorted({*lost})).encode(), digest_size=_NAMES_BYTES).digest()
    return int.from_bytes(named, "big")


def _nobodys_disk(topology: Topology, node: NodeId) -> DiskId:
    """An id that no disk has, and that everybody makes alike."""
    named = f"{topology.cluster} {topology.epoch} {node}".encode()
    return DiskId(GIVEN_UP + blake2b(named, digest_size=8).hexdigest())
