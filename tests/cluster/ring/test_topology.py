"""The topology document: what it tells, how it is encoded, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.ids import ClusterId, DiskId, Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ring import document as document_bytes
from ringmill.cluster.ring.document import RowTable
from ringmill.cluster.ring.topology import KeyspaceEntry, Member, Owner, Row, Topology, first_topology
from ringmill.cluster.ring.topology_entries import NORMAL


def member(index: int, zone: str = "a", weight: int = 1) -> Member:
    return Member(NodeId(f"n{index}"), DiskId(f"{index:032x}"), f"127.0.0.1:{7100 + index}", zone, weight)


def five_nodes() -> Topology:
    return first_topology("demo", [member(i) for i in range(1, 6)])


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@st.composite
def documents(draw: st.DrawFn) -> Topology:
    members = [
        member(i, draw(st.sampled_from("abc")), draw(st.integers(1, 4)))
        for i in range(draw(st.integers(1, 9)))
    ]
    n = draw(st.integers(1, 4))
    first = first_topology(draw(names), members, partitions=draw(st.sampled_from([16, 32])), n=n, r=1, w=n)
    if draw(st.booleans()):
        return first
    epoch = Epoch(draw(st.integers(2, 2**62)))
    extra = KeyspaceEntry(
        KeyspaceId(epoch, 1), "locks", "registers", r=n, w=1, ttl_ms=draw(st.integers(0, 2**40))
    )
    return replace(
        first,
        epoch=epoch,
        keyspaces=(*first.keyspaces, extra),
        rows=tuple(replace(row, row_epoch=epoch) for row in first.rows),
        members=tuple(replace(m, state=draw(st.sampled_from(["joining", "up", "leaving"]))) for m in members),
    )


@given(documents())
@settings(max_examples=60, deadline=None)
def test_a_document_survives_its_encoding(topology: Topology) -> None:
    assert Topology.decode(topology.encode()) == topology


@given(st.binary(max_size=200))
def test_rubbish_is_refused_as_an_invalid_argument(data: bytes) -> None:
    with pytest.raises((InvalidArgument, ProtocolMismatch)):
        Topology.decode(data)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_document_never_decodes_to_another_one_of_the_first_epoch(data: st.DataObject) -> None:
    encoded = bytearray(five_nodes().encode())
    encoded[data.draw(st.integers(3, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidArgument):
        Topology.decode(bytes(encoded))


def test_arrays_in_arrays_are_refused_however_deep_they_are() -> None:
    encoded, deep = five_nodes().encode(), b"\x91" * 1000 + b"\xc0"
    for damaged in (encoded[:1] + deep + encoded[2:], encoded[:-1] + deep):
        with pytest.raises((InvalidArgument, ProtocolMismatch)):
            Topology.decode(damaged)


def test_a_later_format_version_is_named() -> None:
    with pytest.raises(ProtocolMismatch, match="version 9"):
        Topology.decode(msgpack.packb([9, 1]))


def test_the_first_document_names_its_cluster_by_its_own_hash() -> None:
    one, two = five_nodes(), five_nodes()
    assert one == two
    other_disk = replace(member(5), disk=DiskId("f" * 32))
    other = first_topology("demo", [*(member(i) for i in range(1, 5)), other_disk])
    assert other.cluster != one.cluster
    forged = replace(one, cluster=ClusterId("0" * 32))
    with pytest.raises(InvalidArgument, match="not the hash"):
        Topology.decode(forged.encode())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partitions": 100}, "power of two"),
        ({"partitions": 8}, "need 16 to 4096"),
        ({"n": 0}, "n is 0"),
        ({"r": 4}, "keyspace r is 4, need 1 to 3"),
        ({"name": "a b"}, "is not a valid name"),
        ({"members": []}, "number of members is 0"),
        ({"members": [member(1), member(1)]}, "member id n1 is there twice"),
        ({"members": [replace(member(1), weight=65)]}, "weight of n1 is 65"),
        ({"members": [replace(member(1), address="nowhere")]}, "need host:port"),
        ({"members": [replace(member(1), disk=DiskId("xyz"))]}, "32 hexadecimal"),
    ],
)
def test_what_a_document_may_not_hold_is_named(changes: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"name": "demo", "members": [member(i) for i in range(1, 6)], **changes}
    with pytest.raises(InvalidArgument, match=message):
        first_topology(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("members", "voters"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (9, 5)])
def test_voters_are_the_largest_odd_number_up_to_five(members: int, voters: int) -> None:
    assert len(first_topology("demo", [member(i) for i in range(members)], r=1, w=1).voters) == voters


def test_voters_are_spread_over_zones() -> None:
    members = [member(i, "a") for i in range(5)] + [member(5, "b"), member(6, "c")]
    zones = {m.id: m.zone for m in members}
    assert {zones[v.node] for v in first_topology("demo", members).voters[:3]} == {"a", "b", "c"}


def test_owners_are_named_with_their_disks_and_fallbacks_follow_them() -> None:
    topology = five_nodes()
    row = topology.row(PartitionId(17))
    assert all(owner == Owner(owner.node, topology.member(owner.node).disk) for owner in row.owners)
    assert (row.row_epoch, row.copy_epochs, row.phase, row.majority) == (1, (1, 1, 1), "normal", 2)
    everyone = topology.owners(PartitionId(17)) + topology.fallbacks(PartitionId(17))
    assert len(everyone) == 5 and set(everyone) == set(topology.addresses())


def test_with_fewer_members_than_replicas_levels_count_from_those_there_are() -> None:
    topology = first_topology("tiny", [member(1)])
    assert topology.is_short
    assert topology.row(PartitionId(0)).level(2) == 1
    assert not five_nodes().is_short


def test_an_unknown_keyspace_is_refused_with_the_list_of_those_there_are() -> None:
    topology = five_nodes()
    assert topology.keyspace(KeyspaceId(1, 0)) is topology.keyspace_named("default")
    with pytest.raises(InvalidArgument, match="no keyspace 'nope'") as refused:
        topology.keyspace_named("nope")
    assert refused.value.hint == "there are: default, registers"


def following(topology: Topology, **changes: object) -> Topology:
    """The next document, in which one row says that it has changed."""
    epoch = Epoch(topology.epoch + 1)
    rows = (replace(topology.rows[0], row_epoch=epoch), *topology.rows[1:])
    return replace(topology, epoch=epoch, **{"rows": rows, **changes})  # type: ignore[arg-type]


def test_of_a_later_document_only_rows_that_changed_are_read_and_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held, checked = Topology.decode(following(five_nodes()).encode()), list[Row]()
    later = bytes(following(held).encode())
    check = Row.check

    def noted(row: Row, *, epoch: int, replicas: int) -> None:
        checked.append(row)
        check(row, epoch=epoch, replicas=replicas)

    monkeypatch.setattr(Row, "check", noted)
    decoded = Topology.decode(later)
    assert checked == [decoded.rows[0]]
    assert all(row is before for row, before in zip(decoded.rows[1:], held.rows[1:], strict=True))


def test_a_row_that_was_sound_is_refused_where_it_may_not_stand() -> None:
    held = Topology.decode(following(five_nodes()).encode())
    strangers = following(held, members=tuple(replace(m, disk=DiskId("e" * 32)) if m.id == "n5" else m
                                              for m in held.members))  # fmt: skip
    early = replace(held, epoch=Epoch(1))
    for document, message in ((strangers, "not all are members"), (early, "row epoch is 2, need 1 to 1")):
        with pytest.raises(InvalidArgument, match=message):
            Topology.decode(document.encode())


def test_a_row_that_only_equals_a_known_one_is_refused() -> None:
    encoded = following(five_nodes()).encode()
    Topology.decode(encoded)
    fields = msgpack.unpackb(encoded)
    assert fields[9][7][1] == 1  # its row epoch
    for other in (True, 1.0):
        fields[9][7][1] = other
        with pytest.raises(InvalidArgument):
            Topology.decode(msgpack.packb(fields))
    fields[9][7][1] = {"1": 1}
    with pytest.raises(InvalidArgument, match="row item 1 is dict, need int"):
        Topology.decode(msgpack.packb(fields))


def test_a_refused_document_leaves_no_row_behind() -> None:
    held = five_nodes()
    fields = msgpack.unpackb(held.encode())
    table = document_bytes._table(tuple(sorted({seat for row in held.rows for seat in row.named})), True)
    Topology.decode(held.encode())
    before = dict(table._read)
    for first in range(2, 4002, 1000):
        forged = [*fields]
        forged[9] = [*[[NORMAL, epoch, 1, 0] for epoch in range(first, first + 1000)], 0]
        with pytest.raises(InvalidArgument):
            Topology.decode(msgpack.packb(forged))
        forged[9] = [*forged[9][: forged[4] - 1], 0]
        with pytest.raises(InvalidArgument, match="row is not an array"):
            Topology.decode(msgpack.packb(forged))
    assert before and table._read == before


def test_a_document_of_too_many_rows_is_refused_before_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = msgpack.unpackb(five_nodes().encode())

    def read(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(RowTable, "read", read)
    fields[9] += fields[9][:1]
    with pytest.raises(InvalidArgument, match="number of rows"):
        Topology.decode(msgpack.packb(fields))
    fields[4], fields[9] = 8192, fields[9][:1] * 8192
    with pytest.raises(InvalidArgument, match="number of rows is 8192"):
        Topology.decode(msgpack.packb(fields))


def test_a_row_that_is_written_for_two_tables_at_once_has_the_bytes_of_each() -> None:
    """A thread may write it for another document while one looks whose bytes it has."""
    seats = tuple(Owner(NodeId(name), DiskId(f"{at:032x}")) for at, name in enumerate(("n1", "n2")))
    mine, theirs = RowTable(seats, 1), RowTable(seats[::-1], 1)
    row = Row(seats[:1], NORMAL, Epoch(1), (Epoch(1),))
    (wanted,), (others,) = mine.pack([row]), theirs.pack([row])

    class Watched:
        """As a row: its bytes change between two looks."""

        looks = 0

        @property
        def packed_by(self) -> tuple[object, bytes]:
            self.looks += 1
            return (mine, wanted) if self.looks == 1 else (theirs, others)

    assert wanted != others
    assert mine.pack([Watched()]) == [wanted]  # type: ignore[list-item]
