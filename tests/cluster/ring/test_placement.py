"""Laws of placement: distinct nodes and zones, fair loads, one table for one membership."""

from __future__ import annotations

from collections import Counter
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.placement import place
from ringmill.cluster.ring.quotas import fair_shares, zone_limit
from ringmill.cluster.ring.topology_entries import Member


def member(index: int, zone: str = "a", weight: int = 1) -> Member:
    return Member(NodeId(f"n{index}"), DiskId(f"{index:032x}"), f"127.0.0.1:{7100 + index}", zone, weight)


@st.composite
def clusters(draw: st.DrawFn) -> list[Member]:
    zones = draw(st.integers(1, 8))
    entries = draw(st.lists(st.tuples(st.integers(0, zones - 1), st.integers(1, 8)), min_size=1, max_size=64))
    return [member(i, f"z{zone}", weight) for i, (zone, weight) in enumerate(entries)]


placements = given(clusters(), st.sampled_from([16, 64, 256]), st.integers(1, 5))


@placements
@settings(max_examples=80, deadline=None)
def test_replicas_lie_on_distinct_nodes_and_in_distinct_zones_while_there_are_enough(
    members: list[Member], partitions: int, n: int
) -> None:
    table = place(members, partitions, n)
    zones = {m.id: m.zone for m in members}
    replicas = min(n, len(members))
    limit = zone_limit(list(Counter(zones.values()).values()), replicas)
    assert limit == 1 or len(set(zones.values())) < n
    assert len(table) == partitions
    for row in table:
        assert len(row) == len(set(row)) == replicas
        assert max(Counter(zones[node] for node in row).values()) <= limit


@placements
@settings(max_examples=80, deadline=None)
def test_each_node_holds_its_fair_share_to_the_nearest_whole_replica(
    members: list[Member], partitions: int, n: int
) -> None:
    table = place(members, partitions, n)
    load = Counter(node for row in table for node in row)
    shares = fair_shares(members, partitions, min(n, len(members)))
    assert shares.keys() == {member.id for member in members}
    for node, share in shares.items():
        assert floor(share) <= load[node] <= ceil(share)


@given(st.integers(3, 12), st.sampled_from([256, 1024]))
@settings(max_examples=30, deadline=None)
def test_the_fullest_node_holds_at_most_a_twentieth_more_than_the_mean(nodes: int, partitions: int) -> None:
    load = Counter(node for row in place([member(i) for i in range(nodes)], partitions, 3) for node in row)
    assert max(load.values()) <= 1.05 * partitions * 3 / nodes


@given(clusters(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_in_which_members_are_named_does_not_matter(
    members: list[Member], random: st.DataObject
) -> None:
    shuffled = list(members)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert place(shuffled, 64, 3) == place(members, 64, 3)


def test_weights_are_shares() -> None:
    load = Counter(
        node for row in place([member(0, weight=3), *map(member, range(1, 6))], 256, 2) for node in row
    )
    assert load[NodeId("n0")] == 192
    assert {load[NodeId(f"n{i}")] for i in range(1, 6)} == {64}


def test_a_lonely_zone_holds_a_replica_of_everything_as_zones_win_over_balance() -> None:
    members = [member(0, "a"), *(member(i, "b") for i in range(1, 4)), *(member(i, "c") for i in range(4, 7))]
    assert all("n0" in row for row in place(members, 64, 3))


@pytest.mark.parametrize("nodes", [1, 2])
def test_with_fewer_members_than_replicas_all_own_all(nodes: int) -> None:
    assert {frozenset(row) for row in place([member(i) for i in range(nodes)], 16, 3)} == {
        frozenset(f"n{i}" for i in range(nodes))
    }


def test_a_new_node_leaves_most_of_the_table_where_it_was() -> None:
    before = place([member(i) for i in range(10)], 256, 3)
    after = place([member(i) for i in range(11)], 256, 3)
    kept = sum(len(set(a) & set(b)) for a, b in zip(before, after, strict=True))
    assert kept > 256 * 3 * 0.6
