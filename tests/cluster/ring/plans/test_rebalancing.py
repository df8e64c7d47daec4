"""Laws of a later table: balanced, apart in zones, and no such table is nearer to the present one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.rebalancing import rebalanced, seat_changes
from ringmill.cluster.ring.quotas import fair_shares, zone_limit
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member

Table = Sequence[Sequence[NodeId]]


def member(index: int, zone: str = "a", weight: int = 1) -> Member:
    return Member(NodeId(f"n{index}"), DiskId(f"{index:032x}"), f"127.0.0.1:{7100 + index}", zone, weight)


def copies_to_make(before: Table, after: Table) -> int:
    return sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))


def table_of(topology: Topology) -> list[tuple[NodeId, ...]]:
    return [row.nodes for row in topology.rows]


def standing(topology: Topology, members: Sequence[Member], table: Table) -> Topology:
    """The document after the table has been brought about."""
    seats = {each.id: each.seat for each in members}
    rows = tuple(
        replace(row, owners=tuple(seats[node] for node in nodes))
        for row, nodes in zip(topology.rows, table, strict=True)
    )
    return replace(topology, members=tuple(members), rows=rows)


@st.composite
def member_lists(draw: st.DrawFn, most: int) -> list[Member]:
    """Some of `most` nodes, in any of up to 5 zones, of any weight."""
    zones = draw(st.integers(1, 5))
    ids = draw(st.lists(st.integers(0, most - 1), min_size=1, max_size=most, unique=True))
    places = [(draw(st.integers(0, zones - 1)), draw(st.integers(1, 5))) for _ in ids]
    return [member(i, f"z{zone}", weight) for i, (zone, weight) in zip(ids, places, strict=True)]


def check_laws(members: Sequence[Member], partitions: int, n: int, table: Table) -> None:
    zones = {each.id: each.zone for each in members}
    replicas = min(n, len(members))
    limit = zone_limit([*Counter(zones.values()).values()], replicas)
    for row in table:
        assert len(row) == len(set(row)) == replicas
        assert max(Counter(zones[node] for node in row).values()) <= limit
    load = Counter(node for row in table for node in row)
    for node, share in fair_shares(members, partitions, replicas).items():
        assert floor(share) <= load[node] <= ceil(share)


@given(member_lists(64), member_lists(64), st.sampled_from([16, 64, 256]), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_a_later_table_has_the_laws_of_the_first_one(
    before: list[Member], after: list[Member], partitions: int, n: int
) -> None:
    first = first_topology("c", before, partitions=partitions, n=n, r=1, w=1)
    table = rebalanced(first, after)
    check_laws(after, partitions, n, table)
    assert rebalanced(first, after[::-1]) == table
    again = standing(first, after, table)
    assert rebalanced(again, after) == table, "a table that is balanced stays"


@given(member_lists(9), member_lists(9), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_no_table_with_these_laws_needs_fewer_copies(
    before: list[Member], after: list[Member], n: int
) -> None:
    first = first_topology("c", before, partitions=16, n=n, r=1, w=1)
    table = rebalanced(first, after)
    assert not has_cheaper(table_of(first), table, after, n)


def test_a_table_from_scratch_is_seen_to_be_further_away() -> None:
    before, after = [member(i) for i in range(4)], [member(i) for i in range(1, 6)]
    first = first_topology("c", before, partitions=16)
    fresh = table_of(first_topology("c", after, partitions=16))
    assert has_cheaper(table_of(first), fresh, after, 3)


@pytest.mark.parametrize(("nodes", "later"), [(3, 6), (6, 4), (15, 16), (16, 15), (40, 64)])
def test_what_moves_is_what_the_new_shares_make_unavoidable(nodes: int, later: int) -> None:
    first = first_topology("c", [member(i) for i in range(nodes)], partitions=1024)
    table = rebalanced(first, [member(i) for i in range(later)])
    load, former = (Counter(node for row in rows for node in row) for rows in (table, table_of(first)))
    assert max(load.values()) <= 1.05 * 1024 * 3 / later
    share = {NodeId(f"n{i}"): 3 * 1024 / later if i < later else 0 for i in range(max(nodes, later))}
    must_come = sum(max(0, floor(share[node]) - former[node]) for node in share)
    must_go = sum(max(0, former[node] - ceil(share[node])) for node in share)
    assert copies_to_make(table_of(first), table) == max(must_come, must_go)


@given(member_lists(9), member_lists(9), st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_a_change_that_is_half_done_is_no_longer_from_there(
    before: list[Member], after: list[Member], n: int, percent: int
) -> None:
    first = first_topology("c", before, partitions=16, n=n, r=1, w=1)
    goal = rebalanced(first, after)
    done = 16 * percent // 100
    halfway = standing(first, [*after, *(each for each in before if each.id not in {m.id for m in after})],
                       [*goal[:done], *table_of(first)[done:]])  # fmt: skip
    left = copies_to_make(table_of(halfway), rebalanced(halfway, after))
    assert left == copies_to_make(table_of(halfway), goal)


def test_an_heir_takes_each_seat_of_another_node_in_its_place() -> None:
    first = first_topology("c", [member(i) for i in range(5)], partitions=64)
    after = [*(member(i) for i in (0, 1, 2, 4)), member(9)]
    table = rebalanced(first, after, {NodeId("n9"): NodeId("n3")})
    assert list(table) == [tuple("n9" if node == "n3" else node for node in row) for row in table_of(first)]


def test_whoever_is_leaving_shall_own_nothing() -> None:
    members = [member(i) for i in range(4)]
    first = first_topology("c", members, partitions=16)
    table = rebalanced(first, [replace(members[0], state="leaving"), *members[1:]])
    assert table == rebalanced(first, members[1:])
    with pytest.raises(InvalidArgument, match="no member would be left"):
        rebalanced(first, [replace(each, state="leaving") for each in members])


@given(member_lists(9), member_lists(9), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_no_row_on_the_way_has_a_node_twice_or_more_owners_in_a_zone_than_its_ends(
    before: list[Member], after: list[Member], n: int
) -> None:
    first = first_topology("c", before, partitions=16, n=n, r=1, w=1)
    zones = {each.id: each.zone for each in (*before, *after)}
    for start, goal in zip(table_of(first), rebalanced(first, after), strict=True):
        ends = [Counter(zones[node] for node in row) for row in (start, goal)]
        row = set(start)
        for joiner, leaver in seat_changes(start, goal, zones):
            assert joiner not in row
            row = (row - {leaver}) | ({joiner} if joiner else set())
            for zone, count in Counter(zones[node] for node in row).items():
                assert count <= max(end[zone] for end in ends)
        assert row == set(goal)


def test_nodes_of_one_zone_change_places_with_each_other() -> None:
    a, b, c, d = (NodeId(name) for name in "abcd")
    zones = {a: "east", b: "west", c: "west", d: "east"}
    assert seat_changes([a, b], [c, d], zones) == [(d, a), (c, b)]
    assert seat_changes([a], [a, b], zones) == [(b, None)]
    assert seat_changes([a, b], [b], zones) == [(None, a)]


def has_cheaper(former: Table, table: Table, members: Sequence[Member], n: int) -> bool:
    """Whether the flow network has a circle of changes that saves a copy: by theory, if some table does.

    Each place of the network is listed by name; Bellman and Ford go on for longer than there are places only
    if there is such a circle.
    """
    zones = {each.id: each.zone for each in members}
    replicas = min(n, len(members))
    limit = zone_limit([*Counter(zones.values()).values()], replicas)
    load = Counter(node for row in table for node in row)
    edges: list[tuple[str, str, int]] = []
    for node, share in fair_shares(members, len(table), replicas).items():
        edges += [(node, "sink", 0)] if load[node] < ceil(share) else []
        edges += [("sink", node, 0)] if load[node] > floor(share) else []
    for p, row in enumerate(table):
        in_zone = Counter(zones[node] for node in row)
        for zone in set(zones.values()):
            edges += [(f"p{p}", f"p{p}/{zone}", 0)] if in_zone[zone] < limit else []
            edges += [(f"p{p}/{zone}", f"p{p}", 0)] if in_zone[zone] else []
        for node, zone in zones.items():
            cost = int(node not in former[p])
            edges.append((node, f"p{p}/{zone}", -cost) if node in row else (f"p{p}/{zone}", node, cost))
    best = {place: 0 for edge in edges for place in edge[:2]}
    for _ in range(len(best) + 1):
        better = {to: best[at] + cost for at, to, cost in edges if best[at] + cost < best[to]}
        if not better:
            return False
        best.update(better)
    return True
