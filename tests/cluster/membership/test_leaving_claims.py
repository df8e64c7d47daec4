"""A node that stops claims of itself that it is down: nobody has to find out."""

from __future__ import annotations

import random

import pytest

from ringmill.cluster.ids import NodeId, Start
from ringmill.cluster.membership.claims import MemberState, Message, Rank
from ringmill.cluster.membership.detector import Detector, Instruction
from ringmill.cluster.membership.profile import DEFAULT
from tests.cluster.membership.test_detector import World, claim, disk_of

UP, DOWN = MemberState.UP, MemberState.DOWN
N1, N2 = NodeId("n1"), NodeId("n2")


class Silent(Detector):
    """Leaves without a word: the safeguard taken away."""

    def leave(self, now: float) -> list[Instruction]:
        return []


def leave(world: World, node: NodeId) -> None:
    process = world.processes[node]
    world._act(process, process.detector.leave(world.now))


def views_after_leaving(machine: type[Detector], seed: int) -> set[MemberState]:
    world = World(5, seed=seed, machine=machine)
    world.run(3)
    leave(world, N2)
    world.run(0.05)
    return {process.detector.state(N2) for node, process in world.processes.items() if node != N2}


@pytest.mark.parametrize("seed", range(4))
def test_members_see_a_node_down_as_soon_as_it_has_said_that_it_leaves(seed: int) -> None:
    assert views_after_leaving(Detector, seed) == {DOWN}


def test_members_go_on_to_use_a_node_that_leaves_without_a_word() -> None:
    assert views_after_leaving(Silent, 1) == {UP}


def test_a_node_that_leaves_refutes_nothing_and_its_next_start_is_up_at_once() -> None:
    world = World(5)
    world.run(3)
    leave(world, N2)
    world.run(1)
    assert all(process.detector.state(N2) is DOWN for node, process in world.processes.items() if node != N2)
    world.kill(N2)
    world.restart(N2)
    world.run(0.5)
    assert {process.detector.state(N2) for process in world.processes.values()} == {UP}


def test_a_claim_that_a_node_has_left_speaks_of_that_start_only() -> None:
    detector = Detector(N1, disk_of(N1), Start(1, "a"), DEFAULT, random=random.Random(0).random, now=0.0)
    detector.set_members({node: disk_of(node) for node in (N1, N2)}, 0.0)
    first, second = Rank(Start(1, "a"), 0), Rank(Start(2, "b"), 0)
    detector.heard(Message(1, (claim(N2, DOWN, first, N2),)), 0.0)
    assert detector.state(N2) is DOWN
    detector.heard(Message(1, (claim(N2, UP, second),)), 0.1)
    detector.heard(Message(1, (claim(N2, UP, second), claim(N2, DOWN, first, N2))), 0.2)
    assert detector.state(N2) is UP
