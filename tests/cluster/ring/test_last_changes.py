"""Which changes of keyspaces a node knows, by the documents that it has held (rule T12)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.cluster.errors import WrongEpoch
from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ring.keyspaces.generations import Generation
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.keyspaces.last_changes import LastChanges
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Topology, first_topology

FIRST = first_topology(
    "demo",
    [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in (1, 2, 3)],
    partitions=16,
    keyspaces=(KeyspaceEntry(KeyspaceId(1, 7), "index"),),
)


def sure(topology: Topology | None) -> Topology:
    assert topology is not None
    return topology


def seen(*documents: Topology) -> LastChanges:
    changes = LastChanges()
    for document in documents:
        changes.saw(document)
        changes.saw(document)  # as when a start is confirmed
    return changes


def refused(changes: LastChanges, name: str, asked_in: int) -> str:
    try:
        changes.check(name, Epoch(asked_in))
    except WrongEpoch as error:
        return error.message
    return ""


def test_a_change_is_refused_once_its_keyspace_was_changed_and_no_other_one_is() -> None:
    second = sure(created(FIRST, NewKeyspace("k")))
    third = sure(altered(second, "k", KeyspaceChanges(ttl_ms=5)))
    fourth = sure(dropped(third, "k", may_be_done=False))
    changes = seen(FIRST, second)
    assert "changed in epoch 2" in refused(changes, "k", 1) and not refused(changes, "k", 2)
    changes.saw(third)
    assert "changed in epoch 3" in refused(changes, "k", 2)
    changes.saw(fourth)
    assert "changed in epoch 4" in refused(changes, "k", 3)
    assert not refused(changes, "k", 4) and not refused(changes, "default", 1)


def test_a_keyspace_that_a_job_has_replaced_was_changed() -> None:
    generation = Generation.of("index", KeyspaceId(1, 7), "job journal")
    begun = sure(generation.begun(FIRST))
    changes = seen(FIRST, begun)
    assert not refused(changes, "index", 1)
    changes.saw(sure(generation.flipped(begun)))
    assert "changed in epoch 3" in refused(changes, "index", 2)


def test_whoever_has_missed_an_epoch_knows_nothing_from_before() -> None:
    """What it missed may have been undone meanwhile, so the documents beside the gap may be alike."""
    second = sure(created(FIRST, NewKeyspace("k")))
    third = sure(dropped(second, "k", may_be_done=False))
    changes = seen(FIRST, third)
    assert "no changes of keyspaces before 3" in refused(changes, "k", 1)
    assert refused(changes, "default", 2) and not refused(changes, "default", 3)
    with pytest.raises(WrongEpoch) as error:
        seen(third).check("k", Epoch(2))
    assert WrongEpoch.epoch_of(error.value) == 3, "whoever asked fetches this one"


def test_of_many_names_the_oldest_are_forgotten_and_refused_with_all_before_them() -> None:
    changes, topology = seen(FIRST), FIRST
    for number in range(5):
        names = [KeyspaceEntry(KeyspaceId(topology.epoch + 1, at), f"k{number}.{at}") for at in range(900)]
        topology = replace(topology, epoch=Epoch(topology.epoch + 1), keyspaces=(*FIRST.keyspaces, *names))
        changes.saw(topology)
    assert topology.epoch == 6
    assert "before 3" in refused(changes, "default", 2), "k0.0 went in epoch 3, as did the other k0.*"
    assert not refused(changes, "default", 3)
    assert "changed in epoch 6" in refused(changes, "k4.1", 5)
