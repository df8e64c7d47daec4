"""When members may be given up, and that recoveries without different ones share nothing."""

from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ids import ClusterId, DiskId, NodeId, PartitionId
from ringmill.cluster.membership.start_rules import others_needed
from ringmill.cluster.ring.moves import advanced
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.recovery import (
    EPOCHS_PASSED,
    check_recoverable,
    is_recovered,
    plan_recovery,
    recovered,
)
from ringmill.cluster.ring.replacement import is_newly_seated
from ringmill.cluster.ring.succession import check_follows
from ringmill.cluster.ring.topology import MAX_FORMERS, Member, Topology, first_topology
from ringmill.cluster.ring.topology_entries import JOINT_2

NAMES = [NodeId(f"n{number}") for number in range(1, 10)]


def formed(size: int) -> Topology:
    members = [Member(node, DiskId(f"{at:032x}"), f"127.0.0.1:{7000 + at}") for at, node in enumerate(NAMES)]
    return first_topology("some", members[:size])


def test_two_recoveries_without_different_members_come_to_no_common_epoch() -> None:
    before, names = formed(5), NAMES[:5]
    made = [recovered(before, lost) for lost in (*combinations(names, 3), *combinations(names, 4))]
    epochs = sorted(each.epoch for each in made)
    assert min(later - former for former, later in pairwise(epochs)) >= EPOCHS_PASSED
    assert {row.row_epoch for row in made[0].rows} == {made[0].epoch}
    assert recovered(before, NAMES[2::-1]) == made[0]


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 8, 9])
def test_a_loss_that_leaves_too_few_to_confirm_a_start_may_be_accepted_whoever_votes(size: int) -> None:
    """With half of the members, each that starts again waits for one more that notes its start."""
    topology = formed(size)
    in_order = sorted(NAMES[:size], key=lambda node: node in topology.voter_nodes)
    for count in range(1, size):
        lost = in_order[:count]
        if size - count - 1 < others_needed(size):
            assert recovered(topology, lost).formers == (topology.cluster,)
            continue
        if 2 * len({*lost} & {*topology.voter_nodes}) < len(topology.voters):
            with pytest.raises(InvalidArgument, match="can still decide"):
                check_recoverable(topology, lost)


def test_members_that_were_given_up_before_cannot_confirm() -> None:
    once = recovered(formed(9), NAMES[:5])
    assert len(once.voters) == 3
    others = [node for node in NAMES[5:] if node not in once.voter_nodes]
    lost = [*NAMES[:5], *others, once.voter_nodes[0]]
    assert len(lost) == 7
    twice = recovered(once, lost)
    assert twice.formers == (once.cluster, once.formers[0])
    assert Topology.decode(twice.encode()) == twice
    check_follows(formed(9), twice)
    with pytest.raises(InvalidArgument, match="can still decide"):
        check_recoverable(once, [*NAMES[:5], *others])


def test_the_newest_former_clusters_are_kept_up_to_a_limit() -> None:
    once = recovered(formed(9), NAMES[:5])
    long = replace(once, formers=tuple(ClusterId(f"{at:032x}") for at in range(MAX_FORMERS)))
    twice = recovered(long, [*NAMES[:5], *once.voter_nodes[:2]])
    assert twice.formers == (once.cluster, *long.formers[:-1])
    assert Topology.decode(twice.encode()).formers == twice.formers
    with pytest.raises(InvalidArgument, match="former clusters is 17"):
        replace(twice, formers=(*twice.formers, once.cluster)).check()


def test_a_second_loss_is_counted_with_the_first_and_need_not_name_it_again() -> None:
    once, last = recovered(formed(5), NAMES[:3]), [NAMES[3]]
    left = NAMES[4]
    lost = [number for number, row in enumerate(once.rows) if left not in row.nodes]
    plan = plan_recovery(once, last, {})
    assert (plan.left, list(plan.gone)) == ((left,), lost)
    assert len(plan.gone) + len(plan.short) == len(once.rows), "one owner of three is left at most"
    twice = recovered(once, last)
    assert twice == recovered(once, NAMES[:4])
    assert is_recovered(twice, last)
    assert is_recovered(twice, NAMES[:4])
    check_recoverable(twice, last)
    assert not is_recovered(twice, [left])
    assert not is_recovered(twice, [])
    with pytest.raises(InvalidArgument, match="no member would be left"):
        check_recoverable(once, NAMES[3:5])


def test_an_owner_with_partitions_yet_to_be_filled_is_not_one_that_is_left() -> None:
    """n2's disk was replaced an hour ago."""
    topology, lost = formed(5), NAMES[2:5]
    plan = plan_recovery(topology, lost, {NAMES[0]: 256}, {NAMES[0]: 0, NAMES[1]: 200, NAMES[2]: 7})
    of_n1 = [at for at, row in enumerate(topology.rows) if NAMES[0] in row.nodes]
    assert sorted(plan.gone) == [at for at in range(256) if at not in of_n1]
    assert sorted(plan.short) == of_n1, "n1 alone is left of each"
    assert plan.unfilled == {NAMES[1]: 200}
    assert plan.left == (NAMES[0], NAMES[1])
    assert len(plan_recovery(topology, lost, {}).gone) < len(plan.gone)


@pytest.mark.parametrize("lost", [("n1", "n2", "n3"), ("n2", "n3", "n4"), ("n2", "n3", "n5")])
def test_a_filled_joiner_that_is_left_takes_the_place_of_a_lost_owner(lost: tuple[str, ...]) -> None:
    new = Member(NodeId("n6"), DiskId(f"{6:032x}"), "127.0.0.1:7106")
    topology = with_members(formed(5), MemberChanges(replace={NodeId("n1"): new}))
    assert topology is not None
    for _ in range(2):
        filled = {PartitionId(at): row.row_epoch for at, row in enumerate(topology.rows) if row.is_joint}
        topology = advanced(topology, new.seat, filled=filled, adopted={}, most=128)
        assert topology is not None
    gone = {NodeId(name) for name in lost}
    after, plan = recovered(topology, gone), plan_recovery(topology, gone, {})
    check_follows(topology, after)
    assert Topology.decode(after.encode()) == after and not after.is_moving
    assert not is_newly_seated(topology, after, new.seat), "it is not filled again"
    joint = [at for at, row in enumerate(topology.rows) if row.phase == JOINT_2]
    assert joint
    for at in joint:
        before, row = topology.rows[at], after.rows[at]
        kept = {node for node in before.whole if node not in gone}
        is_hit = len(kept) < len(before.owners)
        assert ("n6" in row.nodes) is is_hit and kept < {*row.nodes}
        assert row.copy_epoch_of(new.id) == before.copy_epoch_of(new.id) or not is_hit
        assert PartitionId(at) not in plan.gone
        assert (PartitionId(at) in plan.short) is (is_hit and not kept)
