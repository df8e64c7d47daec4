"""A generation takes the place of a keyspace by one document, and every change of it may be made twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringmill.cluster.errors import InvalidArgument, NotFound
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.keyspaces.generations import Generation, check_may_be_replaced
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Topology, first_topology

MEMBERS = [Member(NodeId(f"n{n}"), DiskId(f"{n:032x}"), f"127.0.0.1:{7100 + n}") for n in range(3)]


@pytest.fixture
def before() -> Topology:
    made = created(first_topology("t", MEMBERS, partitions=16), NewKeyspace("index", ttl_ms=5_000))
    assert made is not None
    return made


def generation(topology: Topology, journal: str = "job-1.1.1") -> Generation:
    return Generation.of("index", topology.keyspace_named("index").id, journal)


def changed(topology: Topology, following: Topology | None) -> Topology:
    """The next document, which voters accept."""
    assert following is not None
    check_next(topology, following)
    return Topology.decode(following.encode())


def test_one_document_shows_it_and_drops_what_it_replaces(before: Topology) -> None:
    new = generation(before)
    begun = changed(before, new.begun(before))
    filled = new.filled_in(begun)
    assert filled is not None and filled.ttl_ms == 5_000 and filled.id.epoch == begun.epoch
    assert begun.keyspace_named("index") == before.keyspace_named("index") and new.begun(begun) is None
    begun = changed(begun, altered(begun, "index", KeyspaceChanges(ttl_ms=9_000)))
    shown = changed(begun, new.flipped(begun))
    assert shown.keyspace_named("index") == replace(filled, name="index", ttl_ms=9_000), "as it is by now"
    assert shown.has_dropped(before.keyspace_named("index").id) and not shown.has_keyspace(new.name)
    for again in (new.begun, new.flipped, new.given_up):
        assert again(shown) is None and new.shown_in(shown), "who comes late changes nothing"


def test_of_two_at_once_one_shows_and_the_other_finds_another_keyspace(before: Topology) -> None:
    one, two = generation(before), generation(before, "job-2.1.2")
    both = changed(before, one.begun(before))
    both = changed(both, two.begun(both))
    shown = changed(both, one.flipped(both))
    with pytest.raises(NotFound, match="was dropped or replaced"):
        two.flipped(shown)
    left = changed(shown, two.given_up(shown))
    assert [each.name for each in left.keyspaces] == ["default", "registers", "index"]
    third = generation(left, "job-3.1.3")
    assert changed(left, third.begun(left)) and not third.shown_in(left), "a replaced one can be replaced"


def test_what_is_given_up_or_gone_never_shows(before: Topology) -> None:
    new = generation(before)
    begun = changed(before, new.begun(before))
    given_up = changed(begun, new.given_up(begun))
    with pytest.raises(NotFound, match="somebody has dropped it"):
        new.flipped(given_up)
    gone = changed(begun, dropped(begun, "index", may_be_done=False))
    with pytest.raises(NotFound, match="'index' is there no more"):
        new.flipped(gone)
    with pytest.raises(NotFound):
        new.begun(dropped(before, "index", may_be_done=False) or before)
    with pytest.raises(InvalidArgument, match="cannot be replaced"):
        check_may_be_replaced("default")
