"""A change of the members as a plan: its moves, what they cost, and what comes of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.plans.copy_sources import known_sizes
from ringmill.cluster.ring.plans.member_changes import MemberChanges, members_after
from ringmill.cluster.ring.plans.moving_rate import (
    AT_FIRST,
    TOGETHER_S,
    Beside,
    Copying,
    MeasuredMoves,
    MovingRate,
    copies_at_once,
    measured_rate,
    projected_s,
)
from ringmill.cluster.ring.plans.topology_plan import TopologyPlan, loads_of, plan_changes
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import Member

N1, N2, N3, N5, N9 = (NodeId(f"n{i}") for i in (1, 2, 3, 5, 9))
MIB = 1024 * 1024


def member(index: int, zone: str = "default", weight: int = 1) -> Member:
    return Member(NodeId(f"n{index}"), DiskId(f"{index:032x}"), f"h:{7100 + index}", zone, weight)


def cluster(nodes: int, n: int = 3) -> Topology:
    return first_topology("t", [member(i + 1) for i in range(nodes)], partitions=64, n=n, r=1, w=n // 2 + 1)


def planned(
    topology: Topology,
    changes: MemberChanges,
    down: frozenset[NodeId] = frozenset(),
    dead: frozenset[NodeId] = frozenset(),
) -> TopologyPlan:
    up = [each.id for each in topology.members if each.id not in down]
    held = {each.id: topology.owned_by(each.id) * MIB for each in topology.members}
    return plan_changes(topology, changes, up=up, dead=dead, held=held)


def test_a_node_that_is_added_gets_its_share_from_all_the_others() -> None:
    plan = planned(cluster(3), MemberChanges(add=[member(4)]))
    assert plan.copies == len(plan.moves) == 48 and plan.size_bytes == 48 * MIB
    assert {move.joiner for move in plan.moves} == {member(4)}
    assert Counter(move.leaver for move in plan.moves) == {N1: 16, N2: 16, N3: 16}
    assert [move.partition for move in plan.moves] == sorted(move.partition for move in plan.moves)
    assert [load.partitions for load in plan.after] == [48] * 4
    assert [load.size_bytes for load in plan.after] == [48 * MIB] * 4
    assert (plan.balance_before, plan.balance_after, plan.replicas, plan.replicas_after) == (1, 1, 3, 3)
    assert [(each.source, each.size_bytes) for each in plan.traffic] == [
        (N1, 16 * MIB), (N2, 16 * MIB), (N3, 16 * MIB)
    ]  # fmt: skip
    usual = MovingRate()
    assert plan.seconds == pytest.approx(0.6 + 4 * usual.epoch_s + usual.fill_s(48, 48 * MIB))
    assert plan.epoch == 1 and not plan.short and not plan.unsettled


def test_a_partition_that_changes_two_seats_has_two_moves() -> None:
    topology = cluster(5)
    plan = planned(topology, MemberChanges(remove=[N1, N2]))
    twice = [at for at, count in Counter(move.partition for move in plan.moves).items() if count == 2]
    assert twice == [at for at, row in enumerate(topology.rows) if {N1, N2} <= set(row.nodes)]
    assert {move.leaver for move in plan.moves} == {N1, N2}
    rows = [set(row.nodes) for row in topology.rows]
    for move in plan.moves:
        assert move.joiner is not None and move.joiner.id not in rows[move.partition]
        rows[move.partition] ^= {move.joiner.id, N1 if move.leaver == N1 else N2}
        assert len(rows[move.partition]) == 3
    assert plan.replicas == 3 and plan.balance_after == 1


def test_a_cluster_gets_wider_up_to_n() -> None:
    wider = planned(cluster(2), MemberChanges(add=[member(3)]))
    assert {(move.joiner, move.leaver) for move in wider.moves} == {(member(3), None)}
    assert (len(wider.moves), wider.replicas, wider.replicas_after) == (64, 2, 3)


def test_a_cluster_never_gets_narrower_and_the_error_names_the_limit_and_the_keyspaces() -> None:
    topology = cluster(3)
    demanding = replace(topology.keyspaces[0], name="ledger", w=3)
    topology = replace(topology, keyspaces=(demanding, *topology.keyspaces[1:]))
    with pytest.raises(InvalidArgument) as refused:
        planned(topology, MemberChanges(remove=[N2]))
    assert refused.value.message == (
        "2 members would be left, and N is 3: each partition of all keyspaces keeps 3 owners; "
        "keyspaces that ask for more: ledger (w = 3)"
    )
    assert "cluster replace n2=NEW" in refused.value.hint
    with pytest.raises(InvalidArgument, match=r"1 member would be left, and N is 3: .* keeps 2 owners"):
        planned(cluster(2), MemberChanges(remove=[N2]))
    assert planned(topology, MemberChanges(remove=[N2], add=[member(9)])).replicas_after == 3


def test_an_heir_takes_one_nodes_seats_with_its_weight_and_zone() -> None:
    topology = first_topology("t", [member(1, "a", 2), member(2, "b"), member(3, "c")], partitions=16, n=2)
    plan = planned(topology, MemberChanges(replace={N1: member(9)}))
    assert plan.members[-1] == replace(member(9), zone="a", weight=2)
    assert {(move.joiner, move.leaver) for move in plan.moves} == {(plan.members[-1], N1)}
    assert len(plan.moves) == topology.owned_by(N1)


def test_an_heir_moves_nothing_but_what_it_takes_over_though_others_have_too_much() -> None:
    topology = cluster(4)
    uneven = replace(topology.rows[0], owners=tuple(member(i).seat for i in (1, 2, 3)))
    topology = replace(topology, rows=tuple(uneven for _ in topology.rows))  # n4 has none, as after an abort
    plan = planned(topology, MemberChanges(replace={N1: member(9)}))
    assert {(move.joiner, move.leaver) for move in plan.moves} == {(plan.members[-1], N1)}
    assert len(plan.moves) == topology.partitions
    evened = planned(topology, MemberChanges(replace={N1: member(9)}, zones={N2: "default"}))
    assert {move.leaver for move in evened.moves} > {N1}, "another change beside it balances the table"


def test_partitions_whose_writes_the_owners_that_are_up_may_not_know_are_named() -> None:
    topology = cluster(5)
    plan = planned(topology, MemberChanges(add=[member(6)]), down=frozenset({N1, N2}))
    moved = {move.partition for move in plan.moves}
    assert plan.short == tuple(
        at for at, row in enumerate(topology.rows) if at in moved and {N1, N2} <= set(row.nodes)
    )
    assert plan.short and plan.missing == (N1, N2)
    lost = planned(topology, MemberChanges(remove=[N1]), down=frozenset({N1, N2}), dead=frozenset({N1}))
    assert lost.short and lost.missing == (N2,), "nobody can bring back a disk that is gone"
    assert all(move.source not in (N1, N2) for move in plan.moves)
    one_down = planned(topology, MemberChanges(remove=[N1]), down=frozenset({N1}))
    assert one_down.short == () and all(move.source is not None for move in one_down.moves)


def test_rows_that_move_already_are_left_out() -> None:
    topology = cluster(3)
    waiting = replace(topology.rows[5], wanted=topology.rows[5].owners)
    topology = replace(topology, rows=(*topology.rows[:5], waiting, *topology.rows[6:]))
    plan = planned(topology, MemberChanges(remove=[N1], add=[member(4)]))
    assert plan.unsettled == (5,) and all(move.partition != 5 for move in plan.moves)


def test_without_changes_a_balanced_cluster_has_nothing_to_do() -> None:
    plan = planned(cluster(5), MemberChanges())
    assert (plan.moves, plan.seconds, plan.size_bytes) == ((), 0, 0)


def test_a_load_is_reported_beside_its_fair_share() -> None:
    heavier = replace(cluster(4), members=(member(1, weight=3), *(member(i) for i in (2, 3, 4))))
    loads = loads_of(heavier)
    assert [load.fair for load in loads] == [64, 64 * 2 / 3, 64 * 2 / 3, 64 * 2 / 3]
    assert [round(load.fullness, 2) for load in loads] == [0.75, 1.12, 1.12, 1.12]
    assert [load.partitions for load in planned(heavier, MemberChanges()).after] == [64, 43, 42, 43]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (MemberChanges(add=[member(1)]), "n1 is a member already"),
        (MemberChanges(add=[replace(member(9), address="h:7101")]), "h:7101 is the address"),
        (MemberChanges(add=[member(9), member(9)]), "n9 is a member already"),
        (MemberChanges(remove=[N9]), "'n9' is not a member"),
        (MemberChanges(remove=[N1], replace={N1: member(9)}), "removed or replaced once"),
        (MemberChanges(remove=[N1], weights={N1: 2}), "n1 is to leave"),
        (MemberChanges(weights={N9: 2}), "'n9' is not a member"),
        (MemberChanges(weights={N1: 0}), "weight of n1 is 0"),
        (MemberChanges(zones={N1: "no zone"}), "is not a valid name"),
        (MemberChanges(remove=[N1, N2, N3]), "0 members would be left"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(changes: MemberChanges, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        planned(cluster(3), changes)


def test_new_weights_and_zones_may_be_those_of_a_node_that_is_added() -> None:
    after = members_after(
        cluster(3), MemberChanges(add=[member(9)], weights={N9: 4, N1: 2}, zones={N2: "z", N9: "y"})
    )
    assert [(each.id, each.weight, each.zone) for each in after] == [
        ("n1", 2, "default"), ("n2", 1, "z"), ("n3", 1, "default"), ("n9", 4, "y")
    ]  # fmt: skip


def test_joiners_hold_each_other_up_in_filling_on_one_host_and_in_epochs_anywhere() -> None:
    rate = MovingRate(bytes_per_s=100, epoch_s=1, copy_s=0.5)

    def copies(joiner: str, host: str, number: int, size: int = 50) -> list[Copying]:
        return [Copying(NodeId(joiner), host, size)] * number

    def seconds(*moves: list[Copying]) -> float:
        return projected_s([each for some in moves for each in some], rate)

    around, here, apart = 0.6, Beside(2, 2), Beside(1, 2)
    assert 1 < apart.epochs_longer == here.epochs_longer < 2
    assert 1 == apart.fills_longer < here.fills_longer < 3
    assert seconds(copies("a", "h", AT_FIRST, size=0)) == pytest.approx(around + 0.5 * AT_FIRST + 3)
    more = AT_FIRST + copies_at_once(0.5)
    assert seconds(copies("a", "h", more, size=0)) == pytest.approx(around + 0.5 * more + 4)
    assert seconds(copies("a", "h", more + 1, size=0)) == pytest.approx(around + 0.5 * (more + 1) + 5)
    assert seconds(copies("a", "h", 4)) == pytest.approx(around + 7)
    both = 4 * here.fills_longer + 3 * here.epochs_longer
    assert seconds(copies("a", "h", 4), copies("b", "h", 4)) == pytest.approx(around + both)
    both = 4 + 3 * apart.epochs_longer
    assert seconds(copies("a", "h", 4), copies("b", "i", 4)) == pytest.approx(around + both)
    assert projected_s([Copying(None, "", 0)], rate) == around + 3
    assert projected_s([], rate) == 0


def test_as_many_partitions_move_together_as_are_filled_in_some_seconds() -> None:
    assert copies_at_once(0) == AT_FIRST
    assert copies_at_once(TOGETHER_S / 50) == 50
    assert 1 < copies_at_once(TOGETHER_S) < AT_FIRST < copies_at_once(TOGETHER_S / 1e6) < 1000


def test_a_rate_is_what_nodes_measured_and_else_the_usual_one() -> None:
    usual = MovingRate(bytes_per_s=100, epoch_s=1, copy_s=0.5)
    assert measured_rate([], usual) == usual
    epochs = [MeasuredMoves(), MeasuredMoves(epochs=4, epochs_s=2.0)]
    assert measured_rate(epochs, usual) == MovingRate(100, 0.5, 0.5)
    twice_as_slow = [MeasuredMoves(300, 2, 6.0, 2, 1.0), MeasuredMoves(100, 4, 8.0, 2, 3.0)]
    assert measured_rate(twice_as_slow, usual) == MovingRate(50, 1, 1.0)


def test_what_was_measured_beside_other_joiners_tells_of_one_alone() -> None:
    beside = Beside(2, 3)
    took = MeasuredMoves(300, 2, 6.0 * beside.fills_longer, 2, beside.epochs_longer)
    assert took.without(beside) == pytest.approx((300, 2, 6.0, 2, 1.0))


def test_sizes_are_those_that_owners_tell_or_else_estimates() -> None:
    topology = cluster(3)
    told = {N1: {0: 30, 1: 50}, N2: {0: 40}}
    assert known_sizes(topology, told, {})[:3] == [40, 50, 0]
    assert known_sizes(topology, {}, {N1: 64 * MIB})[:2] == [MIB, MIB]
    first = topology.rows[0].nodes[0]
    apart = cluster(5)
    untold = [at for at, row in enumerate(apart.rows) if first not in row.nodes]
    mixed = known_sizes(apart, {first: dict.fromkeys(range(64), 10)}, {first: apart.owned_by(first) * 10})
    assert all(0 < mixed[at] < 10 for at in untold) and set(mixed) == {10, mixed[untold[0]]}


def test_no_plan_gives_partitions_to_members_whose_disks_were_given_up() -> None:
    lost = [N1, N2, N3]
    topology = recovered(cluster(7), lost)
    with pytest.raises(InvalidArgument, match="partitions would go to n1, n2, n3, whose disks were given up"):
        planned(topology, MemberChanges(remove=[NodeId("n7")]))
    with pytest.raises(InvalidArgument, match="2 members would be left, and N is 3"):
        planned(topology, MemberChanges(remove=[NodeId("n6"), NodeId("n7")]))
    given_up = {each.id for each in topology.members if each.is_given_up}
    for changes in (
        MemberChanges(add=[member(8)]),
        MemberChanges(remove=lost),
        MemberChanges(replace={N1: member(8)}),
    ):
        plan = planned(topology, changes)
        assert plan.moves
        assert not given_up & {move.joiner for move in plan.moves}
    with pytest.raises(InvalidArgument, match="would go to n2, whose"):
        planned(recovered(cluster(4), lost[:2]), MemberChanges(remove=lost[:1]))
