"""Who gets the vote of a member that has been down for long (rule T3)."""

from __future__ import annotations

import pytest

from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.succession import check_next
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.cluster.ring.voters import with_vote_passed_on


def a_cluster(zones: str) -> Topology:
    """A member for each letter, which names its zone."""
    members = [
        Member(NodeId(f"n{i + 1}"), DiskId(f"{i + 1:032x}"), f"127.0.0.1:{7101 + i}", zone=zone)
        for i, zone in enumerate(zones)
    ]
    return first_topology("test", members, partitions=16)


def voters_after(topology: Topology, lost: str, up: list[str]) -> tuple[str, ...] | None:
    seat = topology.member(NodeId(lost)).seat
    following = with_vote_passed_on(topology, seat, [NodeId(node) for node in up])
    if following is None:
        return None
    check_next(topology, following)
    assert following.rows == topology.rows
    return following.voter_nodes


@pytest.mark.parametrize(
    ("zones", "lost", "up", "voters"),
    [
        ("aaaa", "n3", ["n1", "n2", "n4"], ("n1", "n2", "n4")),
        ("abcabc", "n3", ["n1", "n2", "n4", "n5", "n6"], ("n1", "n2", "n6", "n4", "n5")),
        ("abcabca", "n1", ["n2", "n3", "n4", "n5", "n6", "n7"], ("n6", "n2", "n3", "n4", "n5")),
        ("abca", "n3", ["n1", "n2", "n4"], ("n1", "n2", "n4")),
    ],
)
def test_a_spare_member_votes_in_its_place_from_the_zone_with_fewest_votes(
    zones: str, lost: str, up: list[str], voters: tuple[str, ...]
) -> None:
    assert voters_after(a_cluster(zones), lost, up) == voters


def test_without_a_member_that_is_up_and_has_no_vote_nothing_changes() -> None:
    assert voters_after(a_cluster("aaa"), "n3", ["n1", "n2"]) is None
    assert voters_after(a_cluster("aaaa"), "n3", ["n1", "n2"]) is None


def test_whoever_has_no_vote_loses_none() -> None:
    assert voters_after(a_cluster("aaaa"), "n4", ["n1", "n2", "n3"]) is None
