"""The failure detector in virtual time: stories of whole clusters whose links lose, and whose nodes stop.

The world below carries pings and answers between detectors, one event at a time.  It has no clock but its
own, so the stories take milliseconds and the same seed tells the same one.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.claims import NEVER_SEEN, Claim, MemberState, Message, Rank
from ringmill.cluster.membership.detector import Changed, Detector, Instruction, Ping
from ringmill.cluster.membership.profile import DEFAULT, FAST, Profile

UP, SUSPECT, DOWN = MemberState.UP, MemberState.SUSPECT, MemberState.DOWN
LATENCY_S = 0.002


def disk_of(node: NodeId) -> DiskId:
    return DiskId(node.removeprefix("n").zfill(32))


def claim(node: NodeId, state: MemberState, rank: Rank, accuser: str = "") -> Claim:
    return Claim(node, disk_of(node), state, rank, NodeId(accuser))


class Unforgiving(Detector):
    """Never refutes: the safeguard taken away."""

    def _refute(self, claim: Claim, now: float) -> None:
        pass


@dataclass
class Process:
    node: NodeId
    detector: Detector
    start: int = 1
    alarm: float = -1.0
    is_alive: bool = True
    paused: list[Callable[[], None]] | None = None  # what waits for the process to go on
    changes: list[tuple[float, NodeId, MemberState]] = field(default_factory=list)


class World:
    """Detectors named n1 ... nN, the links between them, and the time."""

    def __init__(
        self, size: int, profile: Profile = FAST, *, seed: int = 1, machine: type[Detector] = Detector
    ) -> None:
        self.random = random.Random(seed)
        self.profile, self.machine = profile, machine
        self.now = 0.0
        self.loss = 0.0
        self.cut: set[tuple[NodeId, NodeId]] = set()  # one-way
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self.nodes = [NodeId(f"n{i}") for i in range(1, size + 1)]
        self.processes = {node: self._boot(node, 1) for node in self.nodes}

    # Faults.

    def kill(self, node: NodeId) -> None:
        self.processes[node].is_alive = False

    def restart(self, node: NodeId) -> None:
        self.processes[node] = self._boot(node, self.processes[node].start + 1)

    def pause(self, node: NodeId) -> None:
        self.processes[node].paused = []

    def resume(self, node: NodeId) -> None:
        waiting, self.processes[node].paused = self.processes[node].paused or [], None
        for event in waiting:
            event()

    # Looking and waiting.

    def views(self, of: NodeId) -> set[MemberState]:
        """What the others that run think of a node."""
        return {
            process.detector.state(of)
            for process in self.processes.values()
            if process.is_alive and process.paused is None and process.node != of
        }

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end

    def until(self, reached: Callable[[], bool], within_s: float) -> float:
        """Seconds until the condition holds; fails when it does not within the time."""
        began = self.now
        while not reached():
            assert self.now - began < within_s, f"not reached within {within_s} s"
            self.run(0.01)
        return self.now - began

    # Inside.

    def _boot(self, node: NodeId, start: int) -> Process:
        detector = self.machine(
            node,
            disk_of(node),
            Start(start, f"boot{start}"),
            self.profile,
            random=self.random.random,
            now=self.now,
        )
        process = Process(node, detector, start)
        first = self.random.random() * self.profile.interval_s if start == 1 else 0  # not all in step
        self._at(
            first,
            lambda: self._in(
                process,
                lambda: self._act(
                    process, detector.set_members({node: disk_of(node) for node in self.nodes}, self.now)
                ),
            ),
        )
        return process

    def _arm(self, process: Process) -> None:
        """Set the process's alarm to the time its detector wants to be woken at."""
        due = process.alarm = max(self.now, process.detector.wake_at)

        def tick() -> None:
            if process.alarm == due:
                self._act(process, process.detector.tick(self.now, late_s=self.now - due))

        self._at(due - self.now, lambda: self._in(process, tick))

    def _act(self, process: Process, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Changed):
                process.changes.append((self.now, instruction.node, instruction.state))
            else:
                self._send(process, instruction)
        self._arm(process)

    def _send(self, process: Process, ping: Ping) -> None:
        """Carry a ping along its way and back; each leg may lose it."""
        ended: list[bool] = []

        def end(report: Callable[[], list[Instruction]]) -> None:
            if not ended:
                ended.append(True)
                self._act(process, report())

        def fail(*, is_silent: bool) -> None:
            end(lambda: process.detector.failed(ping.id, self.now, is_silent=is_silent))

        def answer(message: Message) -> None:
            end(lambda: process.detector.answered(ping.id, Message.decode(message.encode()), self.now))

        self._at(ping.timeout_s, lambda: self._in(process, lambda: fail(is_silent=True)))
        way = [node for node in (process.node, ping.via, ping.target) if node is not None]
        self._leg(
            way,
            arrived=lambda: self._answer(ping, way, answer),
            refused=lambda at: self._leg(way[at::-1], arrived=lambda: fail(is_silent=False)),
        )

    def _answer(self, ping: Ping, way: list[NodeId], answer: Callable[[Message], None]) -> None:
        target = self.processes[ping.target]
        message = Message.decode(ping.message.encode())
        reply, instructions = target.detector.heard(message, self.now, link=way[-2])
        self._act(target, instructions)
        self._leg(way[::-1], arrived=lambda: answer(reply))

    def _leg(
        self,
        way: list[NodeId],
        *,
        arrived: Callable[[], None],
        refused: Callable[[int], None] = lambda at: None,
    ) -> None:
        """Step by step along `way`; `refused` is told the index of the last node that was reached."""

        def step(index: int) -> None:
            if index == len(way) - 1:
                arrived()
            elif not self.processes[way[index + 1]].is_alive:
                refused(index)
            elif (way[index], way[index + 1]) not in self.cut and self.random.random() >= self.loss:
                self._at(LATENCY_S, lambda: self._in(self.processes[way[index + 1]], lambda: step(index + 1)))

        step(0)

    def _in(self, process: Process, event: Callable[[], None]) -> None:
        """Run an event in a process: never in a dead one, later in a paused one."""
        if process.paused is not None:
            process.paused.append(event)
        elif process.is_alive and self.processes[process.node] is process:
            event()

    def _at(self, delay_s: float, event: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay_s, self._sequence, event))


N1, N2, N3, N4, N5 = (NodeId(f"n{i}") for i in range(1, 6))
seeds = pytest.mark.parametrize("seed", range(8))


@seeds
def test_the_fast_profile_sees_a_killed_node_down_everywhere_within_two_seconds(seed: int) -> None:
    world = World(5, seed=seed)
    world.run(5)
    world.kill(N3)
    world.until(lambda: world.views(N3) == {DOWN}, within_s=2)
    assert all(world.views(node) == {UP} for node in (N1, N2, N4, N5))


@pytest.mark.parametrize(("size", "within_s"), [(2, 6), (3, 7), (5, 8), (40, 20)])
def test_the_default_profile_sees_a_killed_node_down_in_seconds(size: int, within_s: float) -> None:
    world = World(size, DEFAULT)
    world.run(10)
    world.kill(N2)
    world.until(lambda: world.views(N2) == {DOWN}, within_s)


@seeds
def test_a_restarted_node_is_seen_up_again_at_once(seed: int) -> None:
    world = World(5, seed=seed)
    world.run(2)
    world.kill(N3)
    world.until(lambda: world.views(N3) == {DOWN}, within_s=10)
    world.restart(N3)
    world.until(lambda: world.views(N3) == {UP}, within_s=0.1)


def test_a_restarted_node_learns_who_is_down() -> None:
    world = World(5)
    world.run(2)
    world.kill(N4)
    world.until(lambda: world.views(N4) == {DOWN}, within_s=10)
    world.kill(N3)
    world.restart(N3)
    world.until(lambda: world.processes[N3].detector.state(N4) is DOWN, within_s=0.1)


@seeds
def test_a_short_pause_ends_in_a_refutation(seed: int) -> None:
    world = World(5, seed=seed)
    world.run(3)
    world.pause(N3)
    world.until(lambda: SUSPECT in world.views(N3), within_s=5)
    world.resume(N3)
    world.until(lambda: world.views(N3) == {UP}, within_s=2)
    assert not any(state is DOWN for p in world.processes.values() for _, _, state in p.changes)


@seeds
def test_a_long_pause_ends_with_the_node_up_again_and_it_has_condemned_nobody(seed: int) -> None:
    world = World(5, seed=seed)
    world.run(3)
    world.pause(N3)
    world.until(lambda: world.views(N3) == {DOWN}, within_s=5)
    world.run(20)
    world.resume(N3)
    world.until(lambda: world.views(N3) == {UP}, within_s=3)
    world.run(5)
    assert not any(state is DOWN for _, _, state in world.processes[N3].changes)


def test_without_refutation_a_suspect_ends_down_and_stays_so() -> None:
    world = World(5, machine=Unforgiving)
    world.run(3)
    world.pause(N3)
    world.until(lambda: SUSPECT in world.views(N3), within_s=5)
    world.resume(N3)
    world.until(lambda: world.views(N3) == {DOWN}, within_s=5)
    world.run(30)
    assert world.views(N3) == {DOWN}


@seeds
def test_one_way_loss_brings_no_suspicion_on_a_healthy_node_thanks_to_helpers(seed: int) -> None:
    world = World(5, seed=seed)
    world.cut.add((N1, N3))
    world.run(60)
    assert all(not process.changes for process in world.processes.values())


def test_without_helpers_one_way_loss_brings_suspicion_again_and_again() -> None:
    world = World(5, replace(FAST, indirect=0))
    world.cut.add((N1, N3))
    world.run(60)
    accusations = [change for change in world.processes[N1].changes if change[1:] == (N3, SUSPECT)]
    assert len(accusations) > 5


def test_without_helpers_and_refutation_one_way_loss_kills_a_healthy_node() -> None:
    world = World(5, replace(FAST, indirect=0), machine=Unforgiving)
    world.cut.add((N1, N3))
    world.until(lambda: world.views(N3) == {DOWN}, within_s=10)


@seeds
def test_lossy_links_condemn_nobody(seed: int) -> None:
    world = World(5, seed=seed)
    world.loss = 0.1
    world.run(60)
    assert not any(state is DOWN for p in world.processes.values() for _, _, state in p.changes)


@seeds
def test_a_network_split_heals(seed: int) -> None:
    world = World(5, seed=seed)
    world.run(3)
    halves = [(a, b) for a in (N1, N2) for b in (N3, N4, N5)]
    world.cut.update(halves + [(b, a) for a, b in halves])
    world.until(lambda: world.views(N1) == {UP, DOWN} and world.views(N5) == {UP, DOWN}, within_s=10)
    world.cut.clear()
    world.until(lambda: all(world.views(node) == {UP} for node in world.nodes), within_s=5)


def test_all_nodes_killed_and_restarted_see_each_other() -> None:
    world = World(5)
    world.run(2)
    for node in world.nodes:
        world.kill(node)
    world.run(1)
    for node in world.nodes:
        world.restart(node)
        world.run(0.2)
    world.until(lambda: all(world.views(node) == {UP} for node in world.nodes), within_s=2)


@seeds
def test_once_trouble_ends_all_agree_on_who_lives(seed: int) -> None:
    world = World(6, seed=seed)
    world.run(2)
    draw = random.Random(seed)
    for _ in range(12):
        node, other = draw.sample(world.nodes, 2)
        process = world.processes[node]
        trouble = draw.choice(["kill", "restart", "pause", "resume", "cut", "loss"])
        if trouble == "kill" and process.paused is None:
            world.kill(node)
        elif trouble == "restart" and not process.is_alive:
            world.restart(node)
        elif trouble == "pause" and process.is_alive and process.paused is None:
            world.pause(node)
        elif trouble == "resume" and process.paused is not None:
            world.resume(node)
        elif trouble == "cut":
            world.cut.add((node, other))
        else:
            world.loss = draw.random() * 0.5
        world.run(draw.random() * 3)
    world.loss = 0.0
    world.cut.clear()
    for node in [node for node in world.nodes if world.processes[node].paused is not None]:
        world.resume(node)
    for node in [node for node in world.nodes if not world.processes[node].is_alive][4:]:
        world.restart(node)  # one alone sees nobody
    truth = {node: UP if world.processes[node].is_alive else DOWN for node in world.nodes}
    world.until(lambda: all(world.views(node) == {truth[node]} for node in world.nodes), within_s=15)


def test_the_same_seed_tells_the_same_story() -> None:
    def story() -> list[object]:
        world = World(7, seed=4)
        world.loss = 0.2
        world.run(20)
        world.kill(N2)
        world.run(20)
        return [process.changes for process in world.processes.values()]

    assert story() == story()


def machine(profile: Profile = DEFAULT, *others: NodeId) -> Detector:
    detector = Detector(N1, disk_of(N1), Start(3, "b"), profile, random=random.Random(0).random, now=0.0)
    for ping in detector.set_members({node: disk_of(node) for node in (N1, *others)}, 0.0):
        assert isinstance(ping, Ping)
        detector.failed(ping.id, 0.0, is_silent=False)
    return detector


def test_independent_accusers_shorten_a_suspicion_and_repeated_ones_do_not() -> None:
    times = [DEFAULT.suspicion_s(10, confirmations) for confirmations in range(5)]
    assert times[0] == pytest.approx(4.166, abs=0.001)
    assert times[0] > times[1] > times[2] > times[3] == times[4] == 2.0

    detector = machine(replace(DEFAULT, interval_s=10), N2, N3, N4, N5)

    def accuse(by: NodeId) -> float:
        suspicion = claim(N2, SUSPECT, NEVER_SEEN, by)
        detector.heard(Message(1, (claim(by, UP, Rank(Start(1, ""), 0)), suspicion)), 0.0)
        detector.tick(0.0)
        return min(detector._deadline(record) for record in detector._suspects())

    first = accuse(N3)
    assert accuse(N3) == first
    assert accuse(N4) < first


def test_a_late_loop_is_the_nodes_own_illness_and_costs_no_suspect_its_time() -> None:
    detector = machine(DEFAULT, N2, N3)
    detector.heard(Message(1, (claim(N3, UP, NEVER_SEEN), claim(N2, SUSPECT, NEVER_SEEN, N3))), 0.0)
    detector.tick(0.0)
    assert detector.health.stretch == 1
    detector.tick(60.0, late_s=59.0)
    assert detector.state(N2) is SUSPECT
    assert detector.health.stretch == 2


def test_a_node_whose_loop_stood_still_doubts_itself_once_whoever_tells_of_it() -> None:
    detector = machine(DEFAULT, N2, N3)
    detector.stood_still(3.0, 2.0)
    detector.tick(3.0, late_s=1.8)
    detector.stood_still(3.0, 1.9)
    assert detector.health.stretch == 2


def test_a_helper_that_says_nothing_counts_against_the_own_health_and_one_that_says_no_does_not() -> None:
    for is_silent, score in ((False, 0), (True, 1)):
        detector = machine(DEFAULT, N2, N3)
        (direct,) = detector.tick(0.0)
        assert isinstance(direct, Ping)
        (indirect,) = detector.failed(direct.id, 0.5, is_silent=True)
        assert isinstance(indirect, Ping)
        assert indirect.via not in (None, direct.target)
        changes = detector.failed(indirect.id, 1.0, is_silent=is_silent)
        assert changes[0] == Changed(direct.target, SUSPECT)
        assert detector.health.score == score


def test_an_answer_by_somebody_else_does_not_count() -> None:
    detector = machine(DEFAULT, N2)
    (ping,) = detector.tick(0.0)
    assert isinstance(ping, Ping)
    imposter = Message(1, (claim(N5, UP, Rank(Start(1, ""), 0)),))
    assert detector.answered(ping.id, imposter, 0.1)[0] == Changed(N2, SUSPECT)


def test_an_answer_from_another_disk_than_the_named_one_does_not_count() -> None:
    detector = machine(DEFAULT, N2)
    (ping,) = detector.tick(0.0)
    assert isinstance(ping, Ping)
    emptied = Message(1, (Claim(N2, disk_of(N5), UP, Rank(Start(1, ""), 0)),))
    assert detector.answered(ping.id, emptied, 0.1)[0] == Changed(N2, SUSPECT)


def test_whoever_speaks_to_a_suspect_tells_it_so() -> None:
    detector = machine(DEFAULT, N2, N3)
    detector.heard(Message(1, (claim(N3, UP, NEVER_SEEN), claim(N2, SUSPECT, NEVER_SEEN, N3))), 0.0)
    for _ in range(20):  # long after the news has stopped travelling
        answer, _ = detector.heard(Message(1, (claim(N2, UP, NEVER_SEEN),)), 0.0)
    assert claim(N2, SUSPECT, NEVER_SEEN, N3) in answer.claims


@pytest.mark.parametrize("state", [UP, SUSPECT])
def test_a_claim_of_a_later_run_of_the_own_id_is_not_refuted(state: MemberState) -> None:
    detector = machine(DEFAULT, N2)
    twin = claim(N1, state, Rank(Start(4, "c"), 0))
    answer, _ = detector.heard(Message(1, (claim(N2, UP, NEVER_SEEN), twin)), 0.0)
    assert answer.claims[0].rank == Rank(Start(3, "b"), 0)


def test_a_former_member_is_forgotten() -> None:
    detector = machine(DEFAULT, N2, N3)
    detector.heard(Message(1, (claim(N2, DOWN, NEVER_SEEN),)), 0.0)
    detector.set_members({N1: disk_of(N1), N3: disk_of(N3)}, 0.0)
    assert detector.state(N2) is DOWN
    assert all(
        N2 not in [c.node for c in detector.heard(Message(1, (claim(N3, UP, NEVER_SEEN),)), 0.0)[0].claims]
        for _ in range(3)
    )


def test_what_was_said_of_a_node_on_its_former_disk_does_not_bind_it_on_the_new_one() -> None:
    detector = machine(DEFAULT, N2, N3)
    of_old_disk = claim(N2, DOWN, Rank(Start(9, "z"), 0))
    detector.heard(Message(1, (claim(N3, UP, NEVER_SEEN), of_old_disk)), 0.0)
    assert detector.state(N2) is DOWN
    new_disk = DiskId("f" * 32)
    (ping,) = detector.set_members({N2: new_disk, N3: disk_of(N3)}, 0.0)
    assert isinstance(ping, Ping) and ping.target == N2
    detector.heard(Message(1, (claim(N3, UP, NEVER_SEEN), of_old_disk)), 0.0)
    assert detector.state(N2) is UP
    detector.heard(Message(1, (Claim(N2, new_disk, UP, Rank(Start(1, "a"), 0)),)), 0.0)
    assert detector.state(N2) is UP
