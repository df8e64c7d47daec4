"""What a member makes up about another one: that one can deny it, and restarts are seen at once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgpack
import pytest

from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.claims import FURTHEST_AHEAD, NEVER_SEEN, Claim, MemberState, Message, Rank
from ringmill.cluster.membership.detector import Changed, Detector, Ping
from ringmill.cluster.membership.profile import FAST
from tests.cluster.membership.test_detector import World, claim, disk_of

UP, SUSPECT, DOWN = MemberState.UP, MemberState.SUSPECT, MemberState.DOWN
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
PRESENT = Rank(Start(5, "e"), 2)
LATER = Rank(Start(6, "f"), 0)
LAST = 1 << 48  # the highest number that a message may hold


@pytest.fixture
def noted() -> dict[DiskId, Start]:
    """The starts that n1 has noted, by disk."""
    return {}


@pytest.fixture
def detector(noted: dict[DiskId, Start]) -> Detector:
    """That of n1, which has heard nothing of n2 and n3."""
    made = Detector(
        N1, disk_of(N1), Start(3, "b"), FAST, random=random.Random(1).random, now=0.0, noted=noted.get
    )
    made.set_members({node: disk_of(node) for node in (N1, N2, N3)}, 0.0)
    return made


def said(*claims: Claim) -> Message:
    return Message(1, claims)


def says_itself(detector: Detector, rank: Rank = PRESENT) -> None:
    detector.heard(said(claim(N2, UP, rank)), 0.0, link=N2)


def rumour(detector: Detector, state: MemberState, rank: Rank) -> None:
    """n3 says it of n2."""
    detector.heard(said(claim(N3, UP, NEVER_SEEN), claim(N2, state, rank, N3)), 0.0, link=N3)


def probe(detector: Detector, *, via: NodeId | None = None) -> Ping:
    """A probe of n2."""
    if via is not None:
        return detector._ping(N2, 0.0, round=None, is_full=False, via=via)
    pings = (each for _ in range(20) for each in detector.tick(detector.wake_at) if isinstance(each, Ping))
    return next(each for each in pings if each.target == N2)


@pytest.mark.parametrize("state", [SUSPECT, DOWN, UP])
def test_what_a_third_one_says_of_a_start_that_nobody_has_noted_is_not_believed(
    detector: Detector, state: MemberState
) -> None:
    says_itself(detector)
    rumour(detector, state, Rank(Start(1 << 40, "z"), 0))
    assert detector.state(N2) is UP
    answer, _ = detector.heard(said(claim(N3, UP, NEVER_SEEN)), 0.0, link=N3)
    assert all(each.rank.start.number < 1 << 40 for each in answer.claims)  # nor told further


def test_a_restart_is_believed_at_once_if_the_node_says_so_itself(detector: Detector) -> None:
    says_itself(detector)
    rumour(detector, DOWN, PRESENT)
    assert detector.state(N2) is DOWN
    says_itself(detector, LATER)
    assert detector.state(N2) is UP


def test_a_restart_is_believed_of_anybody_once_the_start_was_noted(
    detector: Detector, noted: dict[DiskId, Start]
) -> None:
    says_itself(detector)
    noted[disk_of(N2)] = LATER.start
    rumour(detector, DOWN, LATER)
    assert detector.state(N2) is DOWN


def test_a_message_that_another_one_relays_is_hearsay(detector: Detector) -> None:
    says_itself(detector)
    detector.heard(said(claim(N2, DOWN, LATER)), 0.0, link=N3)
    assert detector.state(N2) is UP


def test_of_a_member_that_was_not_heard_of_yet_anybody_is_believed(detector: Detector) -> None:
    """It may have been dead for long before this node started."""
    rumour(detector, DOWN, PRESENT)
    assert detector.state(N2) is DOWN


def test_a_member_denies_by_its_answer_what_was_made_up_and_the_rumour_is_over(detector: Detector) -> None:
    rumour(detector, DOWN, Rank(Start(1 << 40, "z"), 7))
    assert detector.state(N2) is DOWN
    answer = said(claim(N2, UP, PRESENT))
    assert Changed(N2, UP) in detector.answered(probe(detector).id, answer, 0.1)
    rumour(detector, DOWN, Rank(Start(1 << 40, "z"), 7))
    assert detector.state(N2) is UP


def test_an_answer_denies_only_what_was_known_when_it_was_asked_for(detector: Detector) -> None:
    """Else the last answer of a start that has ended would take back that the next one has begun."""
    says_itself(detector)
    ping = probe(detector)
    says_itself(detector, LATER)
    detector.answered(ping.id, said(claim(N2, UP, PRESENT)), 0.1)
    assert detector._records[N2].claim.rank == LATER


def test_an_answer_that_was_relayed_denies_nothing(detector: Detector) -> None:
    rumour(detector, DOWN, LATER)
    detector.answered(probe(detector, via=N3).id, said(claim(N2, UP, PRESENT)), 0.1)
    assert detector.state(N2) is DOWN


@pytest.mark.parametrize("number", [PRESENT.number + FURTHEST_AHEAD + 1, LAST])
def test_a_number_far_above_the_known_one_is_not_believed(detector: Detector, number: int) -> None:
    says_itself(detector)
    rumour(detector, DOWN, Rank(PRESENT.start, number))
    assert detector.state(N2) is UP


@pytest.mark.parametrize("number", [0, FURTHEST_AHEAD, LAST - 1, LAST])
def test_a_refutation_can_always_be_read(detector: Detector, number: int) -> None:
    """One above the highest number would be refused by all, and the node be down until it starts again."""
    present = Rank(Start(3, "b"), number)
    detector.heard(said(claim(N3, UP, NEVER_SEEN), claim(N1, DOWN, present, N3)), 0.0, link=N3)
    answer, _ = detector.heard(said(claim(N3, UP, NEVER_SEEN)), 0.0, link=N3)
    assert Message.decode(answer.encode()) == answer
    assert answer.claims[0].rank.number in (0, number + 1)


def test_a_node_can_refute_more_than_anybody_has_time_to_make_up() -> None:
    """Each claim has to be refuted before the next one, which takes 1 ms at least."""
    assert (LAST // FURTHEST_AHEAD) * 0.001 > 365 * 86_400


def lying_worlds() -> Iterator[tuple[World, Claim]]:
    """Five members, of which n3 makes up something about n2."""
    for seed in range(4):
        for rank in (Rank(Start(2, "z"), 0), Rank(Start(1 << 40, "z"), LAST), Rank(Start(1, "1"), LAST)):
            world = World(5, seed=seed)
            world.run(2)
            yield world, claim(N2, DOWN, rank)


def test_whatever_a_member_makes_up_all_see_the_other_one_up_and_its_restart_too() -> None:
    for world, forged in lying_worlds():
        liar = world.processes[N3].detector
        for node in (node for node in world.nodes if node != N3):
            ping = liar._ping(node, world.now, round=None, is_full=False)
            lie = Message(1, (liar._own_claim, forged))
            world._act(world.processes[N3], [Ping(ping.id, node, None, ping.timeout_s, lie)])
        world.run(3)
        views = {process.detector.state(N2) for process in world.processes.values()}
        assert views == {UP}, forged
        world.kill(N2)
        world.run(6)
        assert {each.detector.state(N2) for each in world.processes.values() if each.is_alive} == {DOWN}
        world.restart(N2)
        world.run(0.5)
        assert {process.detector.state(N2) for process in world.processes.values()} == {UP}


def test_a_claim_of_the_highest_number_is_read() -> None:
    packed = msgpack.packb([1, 1, False, [["n1", "ab" * 16, 1, 1, "cd" * 8, LAST, "n2"]]])
    assert Message.decode(packed).claims[0].rank.number == LAST
