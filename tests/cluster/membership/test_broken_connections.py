"""A member whose connection broke is probed at once, so that a killed node is seen before its turn comes."""

from __future__ import annotations

import pytest

from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.membership.detector import Ping
from ringmill.cluster.membership.profile import FAST
from tests.cluster.membership.test_detector import N1, N2, N3, N4, N5, World


def test_a_member_whose_connection_broke_is_probed_at_once() -> None:
    world = World(5)
    world.run(5)
    detector = world.processes[N1].detector
    detector.broke(N3, world.now)
    assert detector.wake_at == world.now
    assert [ping.target for ping in detector.tick(world.now) if isinstance(ping, Ping)] == [N3]


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_node_whose_connections_broke_is_seen_down_after_its_time_to_refute(seed: int) -> None:
    world = World(5, seed=seed)
    world.run(5)
    world.kill(N3)
    for node in (N1, N2, N4, N5):
        world.processes[node].detector.broke(N3, world.now)
        world._arm(world.processes[node])
    time_to_refute_s = FAST.suspicion_s(5, confirmations=0)
    world.until(lambda: world.views(N3) == {MemberState.DOWN}, within_s=time_to_refute_s + 0.2)
