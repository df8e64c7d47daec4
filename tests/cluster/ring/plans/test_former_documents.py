"""Documents of earlier epochs are found again, in little room, and the oldest are dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.plans.former_documents import MAX_FORMER, FormerDocuments
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member, Owner


def documents(count: int, partitions: int = 256) -> list[Topology]:
    """A seat of one partition changes in each epoch."""
    members = [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"h:{7100 + i}") for i in range(1, 8)]
    found = [first_topology("t", members, partitions=partitions)]
    for at in range(1, count):
        last = found[-1]
        rows = list(last.rows)
        spare = next(each for each in members if each.id not in rows[at % partitions].nodes)
        owners: tuple[Owner, ...] = (*rows[at % partitions].owners[1:], spare.seat)
        epoch = Epoch(last.epoch + 1)
        rows[at % partitions] = replace(rows[at % partitions], owners=owners, row_epoch=epoch)
        found.append(replace(last, epoch=epoch, rows=tuple(rows)))
    return found


def kept(topologies: list[Topology]) -> FormerDocuments:
    former = FormerDocuments()
    for each in topologies:
        former = former.followed_by(each.epoch, each.encode())
    return former


def test_the_last_epochs_are_found_and_take_little_room() -> None:
    topologies = documents(100)
    former = FormerDocuments.decode(kept(topologies).encode())
    assert former.epochs() == tuple(range(100 - MAX_FORMER, 101))
    for topology in topologies:
        held = topology.encode() if topology.epoch >= 100 - MAX_FORMER else None
        assert former.find(topology.epoch) == held
    assert len(former.encode()) < 4 * len(topologies[-1].encode())
    assert former.find(Epoch(101)) is None


def test_the_room_is_bounded_for_large_documents_too() -> None:
    former = kept(documents(40, partitions=4096))
    assert len(former.encode()) < 300 * 1024
    assert former.epochs()[-1] == 40 and len(former.epochs()) > 8


def test_epochs_may_be_skipped_and_an_old_document_changes_nothing() -> None:
    topologies = documents(9)
    former = kept([topologies[0], topologies[3], topologies[8]])
    assert former.epochs() == (1, 4, 9)
    assert former.find(Epoch(4)) == topologies[3].encode() and former.find(Epoch(5)) is None
    assert former.followed_by(Epoch(4), b"other") is former
    assert FormerDocuments().epochs() == () and FormerDocuments().find(Epoch(1)) is None


@pytest.mark.parametrize("damaged", [b"", b"\x93", b"\x94\x02\x01\xc4\x00\x90", b"\x94\x01\x01\xc4\x01x\x90"])
def test_damage_is_reported(damaged: bytes) -> None:
    with pytest.raises(CorruptData):
        FormerDocuments.decode(damaged)
