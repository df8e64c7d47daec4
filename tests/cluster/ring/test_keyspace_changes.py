"""Changes of keyspaces as functions from document to document."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import DiskId, KeyspaceId, NodeId
from ringmill.cluster.limits import MAX_TTL_MS
from ringmill.cluster.ring.keyspaces.keyspace_changes import (
    KeyspaceChanges,
    NewKeyspace,
    altered,
    created,
    dropped,
)
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Topology, first_topology

FIRST = first_topology(
    "demo",
    [Member(NodeId(f"n{i}"), DiskId(f"{i:032x}"), f"127.0.0.1:{7100 + i}") for i in range(1, 6)],
    partitions=16,
)


def made(topology: Topology, new: NewKeyspace) -> Topology:
    following = created(topology, new)
    assert following is not None
    check_next(topology, following)
    assert Topology.decode(following.encode()) == following
    return following


def test_a_new_keyspace_has_the_epoch_that_made_it_as_its_id_and_majorities_as_levels() -> None:
    second = made(FIRST, NewKeyspace("carts"))
    carts = second.keyspace_named("carts")
    assert carts.id == KeyspaceId(2, 0)
    assert (carts.r, carts.w, carts.durability) == (2, 2, "sync")


def test_making_it_again_changes_nothing_and_other_settings_conflict() -> None:
    second = made(FIRST, NewKeyspace("carts", ttl_ms=5))
    assert created(second, NewKeyspace("carts", ttl_ms=5)) is None
    with pytest.raises(Conflict, match="ttl 5 ms"):
        created(second, NewKeyspace("carts", ttl_ms=6))


def test_a_name_that_comes_back_is_another_keyspace() -> None:
    second = made(FIRST, NewKeyspace("carts"))
    third = dropped(second, "carts", may_be_done=False)
    assert third is not None and not third.has_keyspace("carts")
    assert third.has_dropped(KeyspaceId(2, 0)) and not third.has_dropped(KeyspaceId(9, 0))
    fourth = made(third, NewKeyspace("carts"))
    assert fourth.keyspace_named("carts").id == KeyspaceId(4, 0)


def test_the_first_keyspaces_stay() -> None:
    for name in ("default", "registers"):
        with pytest.raises(InvalidArgument, match="cannot be dropped"):
            dropped(FIRST, name, may_be_done=True)


@pytest.mark.parametrize("policy", ["counter", "set", "map"])
def test_keyspaces_may_hold_values_that_merge(policy: str) -> None:
    made = created(FIRST, NewKeyspace("x", policy=policy))
    assert made is not None and made.keyspace_named("x").policy == policy


@pytest.mark.parametrize(
    "new",
    [
        NewKeyspace("no spaces"),
        NewKeyspace("x", kind="tables"),
        NewKeyspace("x", policy="newest"),
        NewKeyspace("x", policy="counter", ttl_ms=1000),
        NewKeyspace("x", durability="never"),
        NewKeyspace("x", quorum="loose"),
        NewKeyspace("x", quorum="sloppy", policy="counter"),
        NewKeyspace("x", quorum="sloppy", kind="registers"),
        NewKeyspace("x", r=4),
        NewKeyspace("x", ttl_ms=1 << 63),
        NewKeyspace("x", kind="registers", policy="lww"),
        NewKeyspace("x", kind="registers", ttl_ms=5),
        NewKeyspace("x", kind="registers", durability="memory"),
        NewKeyspace("x", kind="registers", w=1),
    ],
)
def test_settings_that_cannot_be(new: NewKeyspace) -> None:
    with pytest.raises(InvalidArgument):
        created(FIRST, new)


def test_altering_changes_defaults_and_never_levels() -> None:
    third = altered(FIRST, "default", KeyspaceChanges(ttl_ms=7, durability="memory"))
    assert third is not None
    assert third.keyspace_named("default") == replace(
        FIRST.keyspace_named("default"), ttl_ms=7, durability="memory"
    )
    assert altered(third, "default", KeyspaceChanges(r=2, ttl_ms=7)) is None
    for changes in (KeyspaceChanges(r=1), KeyspaceChanges(w=3)):
        with pytest.raises(InvalidArgument, match="cannot be changed"):
            altered(FIRST, "default", changes)
    with pytest.raises(InvalidArgument, match="registers"):
        altered(FIRST, "registers", KeyspaceChanges(ttl_ms=7))


def test_a_document_is_written_in_the_lowest_version_that_can_say_it() -> None:
    assert msgpack.unpackb(made(FIRST, NewKeyspace("plain")).encode())[0] == 1
    second = made(FIRST, NewKeyspace("quick", durability="memory"))
    fields = msgpack.unpackb(second.encode())
    assert fields[0] == 2
    fields[6] = [keyspace[:8] if keyspace[2] != "quick" else keyspace for keyspace in fields[6]]
    with pytest.raises(InvalidArgument):
        Topology.decode(msgpack.packb(fields))
    third = made(second, NewKeyspace("loose", quorum="sloppy"))
    assert msgpack.unpackb(third.encode())[0] == 3
    assert Topology.decode(third.encode()) == third
    fields = msgpack.unpackb(FIRST.encode())
    fields[0], fields[6] = 2, [[*keyspace, "sync"] for keyspace in fields[6]]
    with pytest.raises(InvalidArgument, match="canonical"):
        Topology.decode(msgpack.packb(fields))


def test_a_new_ttl_is_at_most_a_hundred_years_and_older_documents_keep_theirs() -> None:
    with pytest.raises(InvalidArgument, match="100 years"):
        created(FIRST, NewKeyspace("carts", ttl_ms=MAX_TTL_MS + 1))
    second = made(FIRST, NewKeyspace("carts", ttl_ms=MAX_TTL_MS))
    with pytest.raises(InvalidArgument, match="100 years"):
        altered(second, "carts", KeyspaceChanges(ttl_ms=MAX_TTL_MS + 1))
    *others, carts = second.keyspaces
    older = replace(second, keyspaces=(*others, replace(carts, ttl_ms=MAX_TTL_MS + 1)))
    assert Topology.decode(older.encode()) == older
    assert altered(older, "carts", KeyspaceChanges(durability="memory")) is not None
