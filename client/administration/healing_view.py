"""What a member's healing waits for, and the word that it need not.

A member whose disk is damaged or new is filled from the other owners of each partition, and waits until
enough of them can help.  Where two owners of a partition have lost something, each waits for the other: only
the operator can say that it goes on with what is left.  Rule H12: docs/protocol/repair.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ringmill.client.administration.status import cluster_status
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.links import HEAL
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ring.replacement import estimated_keys
from ringmill.cluster.wire.stubs.repair_pb2 import HealRequest

__all__ = ["HealingView", "ask_healing"]


@dataclass(frozen=True, slots=True)
class HealingView:
    """`waiting` has the partitions of `node` that could not be healed at its last try, and their other owners
    that did not help.  `unfilled` counts all partitions of which something is still to be healed.  `keys` is
    an estimate of how many keys those of `waiting` have.

    Of the partitions `alone` no other owner helps.  Owners that are `silent` do not answer, and their disks
    were not given up: they may be back in a moment.  Those `in_doubt` answer here, and do not say that they
    wait with each of these partitions, too: they may have them, and only `node` may not reach them."""

    node: str
    unfilled: int
    waiting: Mapping[int, tuple[str, ...]]
    keys: int
    alone: tuple[int, ...] = ()
    silent: tuple[str, ...] = ()
    in_doubt: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """All owners that some partition waits for."""
        return tuple(sorted({owner for owners in self.waiting.values() for owner in owners}))


async def ask_healing(
    directory: Directory, node: NodeId, timeout_s: float, *, without: Collection[str] = ()
) -> HealingView:
    """What `node` says of its healing; with `without` after it was told to heal without these owners.

    Raises InvalidArgument for a node that is not a member, and an owner that it does not wait for; what the
    call raises.
    """
    topology = directory.topology
    assert topology is not None, "a connected client has a topology"
    link = directory.link(topology.member(node).address)
    answer = await link.call(HEAL, HealRequest(without=sorted(without)), timeout_s)
    waiting = {each.partition: tuple(each.missing) for each in answer.short}
    seen = await cluster_status(directory, timeout_s)
    keys = estimated_keys(topology, waiting, seen.keys_by_node())
    alone = [
        number
        for number, missing in sorted(waiting.items())
        if {*missing} >= {*topology.rows[number].whole} - {answer.node}
    ]
    missing = {owner for owners in waiting.values() for owner in owners}
    answering = {each.id for each in seen.nodes if each.pid is not None}
    members = [each for each in topology.members if each.id in missing and each.id != answer.node]
    standing = sorted(each.id for each in members if not each.is_given_up)
    silent = tuple(each for each in standing if each not in answering)
    asked = {each: [at for at in alone if each in waiting[at]] for each in standing if each in answering}
    wait = await gather_all(_waits(directory, each, asked[each], timeout_s) for each in asked)
    in_doubt = tuple(each for each, waits in zip(asked, wait, strict=True) if not waits)
    return HealingView(answer.node, answer.unfilled, waiting, keys, tuple(alone), silent, in_doubt)


async def _waits(directory: Directory, node: NodeId, partitions: Collection[int], timeout_s: float) -> bool:
    """Whether a member says that it waits for others itself, with each of these partitions."""
    topology = directory.topology
    if topology is None or not partitions:
        return not partitions
    try:
        answer = await directory.link(topology.member(node).address).call(HEAL, HealRequest(), timeout_s)
    except RingmillError:
        return False
    return {each.partition for each in answer.short}.issuperset(partitions)
