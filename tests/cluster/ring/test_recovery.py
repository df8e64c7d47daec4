"""Recoveries that an operator begins with different members share nothing."""

from itertools import combinations, pairwise

from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.ring.recovery import EPOCHS_PASSED, recovered
from ringmill.cluster.ring.topology import Member, first_topology

NAMES = [NodeId(f"n{number}") for number in range(1, 6)]


def test_two_recoveries_without_different_members_come_to_no_common_epoch() -> None:
    members = [Member(node, DiskId(f"{at:032x}"), f"127.0.0.1:{7000 + at}") for at, node in enumerate(NAMES)]
    before = first_topology("five", members)
    made = [recovered(before, lost) for lost in (*combinations(NAMES, 3), *combinations(NAMES, 4))]
    epochs = sorted(each.epoch for each in made)
    assert min(later - former for former, later in pairwise(epochs)) >= EPOCHS_PASSED
    assert {row.row_epoch for row in made[0].rows} == {made[0].epoch}
    assert recovered(before, NAMES[2::-1]) == made[0]
