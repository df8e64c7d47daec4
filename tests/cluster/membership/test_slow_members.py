"""A node that is slow itself does not take others out of service: Lifeguard, and what comes without it.

Dadgar, Phillips, Currey 2018.  What is sent to the slow node waits there, at times for longer than a
probe may take.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringmill.cluster.ids import NodeId
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.membership.detector import Detector
from ringmill.cluster.membership.health import LocalHealth
from ringmill.cluster.membership.profile import FAST
from tests.cluster.membership.test_detector import World

UP, DOWN = MemberState.UP, MemberState.DOWN
SLOW = NodeId("n1")


class NeverUnwell(LocalHealth):
    def worse(self, by: int = 1) -> None:
        pass


class SelfAssured(Detector):
    """Does not doubt itself: the safeguard taken away."""

    def __init__(self, *args, **options) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **options)
        self._health = NeverUnwell(0)


class WithSlowNode(World):
    """Whatever is sent to n1 waits there for up to `late_s`, while its timers run on time."""

    late_s = 0.0

    def _leg(
        self,
        way: list[NodeId],
        *,
        arrived: Callable[[], None],
        refused: Callable[[int], None] = lambda at: None,
    ) -> None:
        wait_s = self.random.random() * self.late_s if SLOW in way[1:] else 0.0
        self._at(wait_s, lambda: super(WithSlowNode, self)._leg(way, arrived=arrived, refused=refused))


def accusations(machine: type[Detector], seed: int) -> list[MemberState]:
    """What was thought of members other than the slow one, by anybody, when it was not that they are up."""
    world = WithSlowNode(5, FAST, seed=seed, machine=machine)
    world.late_s = 1.0  # a direct probe may take 0.2 s
    world.run(60)
    told = [change for process in world.processes.values() for change in process.changes]
    return [state for _, node, state in told if node != SLOW and state is not UP]


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_node_hardly_suspects_others_and_takes_nobody_down(seed: int) -> None:
    accused = accusations(Detector, seed)
    assert DOWN not in accused
    assert len(accused) < 15


def test_a_slow_node_that_does_not_doubt_itself_suspects_others_all_the_time() -> None:
    assert len(accusations(SelfAssured, 1)) > 60
