"""Moves of partitions as functions from one topology document to the next."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from random import Random

import pytest

from ringmill.cluster.errors import Conflict, InvalidArgument
from ringmill.cluster.ids import DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ring.moves import aborted, advanced, left, may_leave, paused, with_plan
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.recovery import recovered
from ringmill.cluster.ring.replacement import is_newly_seated, replaced
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Owner, Row, Topology, first_topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2, NORMAL
from ringmill.node.requests.read import holders_needed

PARTITIONS = 16


def member(number: int) -> Member:
    return Member(NodeId(f"n{number}"), DiskId(f"{number:032x}"), f"127.0.0.1:{7000 + number}")


def cluster(members: int, n: int = 3) -> Topology:
    return first_topology("demo", [member(each + 1) for each in range(members)], partitions=PARTITIONS, n=n)


def following(before: Topology, after: Topology | None) -> Topology:
    """`after`, once it is shown to be one that may be decided on, and that its bytes say."""
    assert after is not None, "nothing was changed"
    check_next(before, after)
    assert Topology.decode(after.encode()) == after
    return after


def step(topology: Topology, seat: Owner, most: int = 4) -> Topology | None:
    """All that this seat has joined is filled, and known to the old owners."""
    rows = {
        PartitionId(number): row.row_epoch for number, row in enumerate(topology.rows) if row.joiner == seat
    }
    return advanced(topology, seat, filled=rows, adopted=rows, most=most)


def moved(topology: Topology) -> Topology:
    """To the end of the plan."""
    while topology.is_moving:
        before = topology
        for each in topology.members:
            after = step(topology, each.seat)
            topology = topology if after is None else following(topology, after)
        assert topology != before, "the plan stands still"
    return topology


def grown(topology: Topology, number: int = 4) -> Topology:
    return following(topology, with_members(topology, MemberChanges(add=[member(number)])))


def owned(topology: Topology) -> dict[str, int]:
    return {each.id: topology.owned_by(each.id) for each in topology.members}


def test_a_member_is_given_its_share_seat_by_seat() -> None:
    topology = grown(cluster(3))
    seat = member(4).seat
    assert topology.member(seat.node).state == "joining" and topology.owned_by(seat.node) == 0
    joint = following(topology, step(topology, seat))
    rows = [row for row in joint.rows if row.is_joint]
    assert [row.phase for row in rows] == [JOINT_1] * 4
    for row in rows:
        assert row.joiner == seat and row.leaver in row.owners
        assert seat.node in row.nodes and seat.node not in row.whole and seat.node not in row.readers
        assert row.copy_epoch_of(seat.node) == row.row_epoch == joint.epoch
    second = following(joint, step(joint, seat))
    filled = [row for row in second.rows if row.phase == JOINT_2]
    assert len(filled) == 4 and all(
        seat.node in row.readers and row.row_epoch == second.epoch for row in filled
    )
    assert sum(row.phase == JOINT_1 for row in second.rows) == 4, "the next ones are opened in the same epoch"
    third = following(second, step(second, seat))
    assert third.owned_by(seat.node) == 4
    end = moved(third)
    assert owned(end) == {"n1": 12, "n2": 12, "n3": 12, "n4": 12}
    assert end.member(seat.node).state == "up"
    assert end.encode()[1] == 5, "copies of several epochs need version 5"
    assert all(row.phase == NORMAL and not row.wanted for row in end.rows)


def test_a_document_in_which_nothing_has_moved_keeps_its_version() -> None:
    assert cluster(3).encode()[1] == 1
    assert following(grown(cluster(3)), aborted(grown(cluster(3)))).encode()[1] == 1


def test_whoever_is_not_filled_or_not_known_does_not_go_on() -> None:
    topology = grown(cluster(3))
    seat = member(4).seat
    joint = following(topology, advanced(topology, seat, filled={}, adopted={}, most=2))
    assert advanced(joint, seat, filled={}, adopted={}, most=2) is None
    stale = {PartitionId(number): Epoch(row.row_epoch - 1) for number, row in enumerate(joint.rows)}
    assert advanced(joint, seat, filled=stale, adopted=stale, most=2) is None


def test_a_plan_is_given_up_from_any_phase() -> None:
    topology = grown(cluster(3))
    for _ in range(4):
        former = following(topology, aborted(topology))
        assert not former.is_moving
        for before, after in zip(topology.rows, former.rows, strict=True):
            assert after.owners == before.owners and after.copy_epochs == before.copy_epochs[: before.size]
        assert former.has_member(NodeId("n4")) is (former.owned_by(NodeId("n4")) > 0)
        topology = following(topology, step(topology, member(4).seat))
    assert aborted(moved(topology)) is None


def test_a_paused_plan_opens_nothing_and_ends_what_is_open() -> None:
    topology = grown(cluster(3))
    seat = member(4).seat
    topology = following(topology, step(topology, seat, most=1))
    topology = following(topology, paused(topology, is_paused=True))
    assert paused(topology, is_paused=True) is None
    topology = following(topology, step(topology, seat))
    topology = following(topology, step(topology, seat))
    assert topology.owned_by(seat.node) == 1 and step(topology, seat) is None
    topology = following(topology, paused(topology, is_paused=False))
    assert owned(moved(topology))["n4"] == 12
    with pytest.raises(InvalidArgument, match="nothing moves"):
        paused(cluster(3), is_paused=True)


def test_a_member_leaves_once_it_owns_nothing_and_says_so() -> None:
    topology = following(cluster(4), with_members(cluster(4), MemberChanges(remove=[NodeId("n1")])))
    assert topology.member(NodeId("n1")).state == "leaving"
    assert "n1" not in topology.voter_nodes, "who leaves decides nothing any more"
    assert not may_leave(topology, member(1).seat) and left(topology, member(1).seat) is None
    topology = moved(topology)
    assert topology.has_member(NodeId("n1")), "it may still have hints to deliver"
    topology = following(topology, left(topology, member(1).seat))
    assert owned(topology) == {"n2": 16, "n3": 16, "n4": 16}
    assert set(topology.voter_nodes) == {"n2", "n3", "n4"}


def test_a_member_whose_disk_is_gone_is_not_waited_for() -> None:
    gone = with_members(cluster(4), MemberChanges(remove=[NodeId("n1")]), dead=[NodeId("n1")])
    assert owned(moved(following(cluster(4), gone))) == {"n2": 16, "n3": 16, "n4": 16}


@pytest.mark.parametrize("is_over", [False, True])
def test_a_member_that_dies_on_its_way_out_is_not_waited_for(is_over: bool) -> None:
    leaving = MemberChanges(remove=[NodeId("n1")])
    topology = following(cluster(4), with_members(cluster(4), leaving))
    topology = moved(topology) if is_over else topology
    assert with_members(topology, leaving) is None, "it is leaving already"
    topology = following(topology, with_members(topology, leaving, dead=[NodeId("n1")]))
    assert with_members(topology, leaving, dead=[NodeId("n1")]) is None, "it was sent again"
    assert owned(moved(topology)) == {"n2": 16, "n3": 16, "n4": 16}


def test_a_node_takes_the_place_of_another() -> None:
    changes = MemberChanges(replace={NodeId("n2"): member(4)})
    topology = moved(following(cluster(3), with_members(cluster(3), changes)))
    assert topology.owned_by(NodeId("n4")) == 16 and topology.owned_by(NodeId("n2")) == 0


def test_a_short_cluster_gets_its_third_owner_without_a_leaver() -> None:
    topology = grown(cluster(2), 3)
    joint = following(topology, step(topology, member(3).seat))
    row = next(row for row in joint.rows if row.is_joint)
    assert row.leaver is None and (row.size, row.majority, row.writers_for(2)) == (2, 3, 3)
    assert owned(moved(joint)) == {"n1": 16, "n2": 16, "n3": 16}


def test_one_plan_at_a_time_and_never_fewer_members_than_owners() -> None:
    with pytest.raises(Conflict, match="moving"):
        with_members(grown(cluster(3)), MemberChanges(remove=[NodeId("n1")]))
    assert with_members(grown(cluster(3)), MemberChanges(add=[member(4)])) is None, "it was sent again"
    with pytest.raises(InvalidArgument, match="2 members would be left"):
        with_members(cluster(3), MemberChanges(remove=[NodeId("n1")]))


def test_a_row_that_jumps_is_refused() -> None:
    topology = grown(cluster(3))
    seat, epoch = member(4).seat, Epoch(topology.epoch + 1)
    number, row = next((at, row) for at, row in enumerate(topology.rows) if row.wanted)
    jumped = Row((*row.owners[1:], seat), NORMAL, epoch, (*row.copy_epochs[1:], epoch))  # without a joint
    rows = tuple(jumped if at == number else each for at, each in enumerate(topology.rows))
    with pytest.raises(InvalidArgument, match="cannot go"):
        check_next(topology, replace(topology, epoch=epoch, rows=rows))


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_disk_that_is_replaced_in_a_joint_is_fenced_or_filled_anew(lost: int, steps: int) -> None:
    topology = grown(cluster(3))
    for _ in range(steps):
        topology = following(topology, step(topology, member(4).seat))
    seat = Owner(NodeId(f"n{lost}"), DiskId("f" * 32))
    after = following(topology, replaced(topology, seat.node, member(lost).disk, seat.disk))
    assert is_newly_seated(topology, after, seat) is (topology.owned_by(seat.node) > 0)
    if lost == 4:
        assert not any(row.is_joint for row in after.rows), "what was filled is lost with it"
    seats = [each.seat for each in after.members]
    while after.is_moving:
        for each in seats:
            nxt = step(after, each)
            after = after if nxt is None else following(after, nxt)
    assert owned(after) == {"n1": 12, "n2": 12, "n3": 12, "n4": 12}


def test_whoever_was_filled_is_not_taken_for_a_new_disk() -> None:
    topology = grown(cluster(3))
    seat = member(4).seat
    for _ in range(4):
        after = following(topology, step(topology, seat))
        assert not is_newly_seated(topology, after, seat)
        topology = after


def test_nothing_moves_in_a_cluster_that_goes_on_without_most_voters() -> None:
    topology = following(grown(cluster(3)), step(grown(cluster(3)), member(4).seat))
    after = recovered(topology, [NodeId("n1"), NodeId("n2")])
    assert not after.is_moving and Topology.decode(after.encode()) == after


def test_whoever_was_to_leave_before_most_voters_were_lost_can_be_removed_again() -> None:
    leaving, lost = NodeId("n7"), [NodeId("n1"), NodeId("n2"), NodeId("n3")]
    topology = following(cluster(7), with_members(cluster(7), MemberChanges(remove=[leaving])))
    after = recovered(topology, lost)
    assert after.owned_by(leaving) and after.member(leaving).state == "up"
    again = with_members(after, MemberChanges(remove=[*lost, leaving]))
    assert again is not None and again.is_moving


@pytest.mark.parametrize("size", range(1, 6))
def test_a_level_in_a_joint_is_reached_in_both_sets(size: int) -> None:
    owners = tuple(member(number).seat for number in range(size))
    epochs = tuple(Epoch(1) for _ in range(size + 1))
    for leaver in (None, *owners):
        for phase in (JOINT_1, JOINT_2):
            row = Row(owners, phase, Epoch(2), epochs, joiner=member(9).seat, leaver=leaver)
            for level in range(1, size + 1):
                for acked in combinations(row.nodes, row.writers_for(level)):
                    assert all(len({*acked} & {*each}) >= level for each in row.sets)
                for told in combinations(row.readers, row.readers_for(level)):
                    sets = row.sets if phase == JOINT_2 else row.sets[:1]
                    assert all(len({*told} & {*each}) >= level for each in sets)
            for agreed in combinations(row.nodes, min(row.majority, len(row.nodes))):
                assert all(len({*agreed} & {*each}) >= len(each) // 2 + 1 for each in row.sets)


@pytest.mark.parametrize("size", range(1, 6))
def test_what_a_read_shows_in_a_joint_no_later_read_of_either_set_misses(size: int) -> None:
    owners = tuple(member(number).seat for number in range(size))
    epochs = tuple(Epoch(1) for _ in range(size + 1))
    for leaver in (None, *owners):
        row = Row(owners, JOINT_1, Epoch(2), epochs, joiner=member(9).seat, leaver=leaver)
        for r in range(len(row.following) // 2 + 1, size + 2):
            for each, needed in zip(row.sets, holders_needed(row, r, asked=min(r, size)), strict=True):
                for holders in combinations(each, needed):
                    assert all({*holders} & {*asked} for asked in combinations(each, min(r, len(each))))


@pytest.mark.parametrize("seed", range(20))
def test_any_plan_comes_to_its_end_whoever_goes_on_first(seed: int) -> None:
    draws, topology = Random(seed), cluster(5)
    names = [each.id for each in topology.members]
    wanted = [draws.sample(names, 3) for _ in topology.rows]
    topology = following(topology, with_plan(topology, topology.members, wanted))
    for _ in range(1000):
        if not topology.is_moving:
            break
        after = step(topology, draws.choice(topology.members).seat, most=draws.randint(1, 4))
        if after is None:
            continue
        for before, row in zip(topology.rows, after.rows, strict=True):
            for node in {*before.nodes} & {*row.nodes}:
                assert before.copy_epoch_of(node) == row.copy_epoch_of(node)
        topology = following(topology, after)
    assert [{*row.whole} for row in topology.rows] == [{*nodes} for nodes in wanted]
