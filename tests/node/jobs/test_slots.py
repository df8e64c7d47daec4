"""Which job gets a free slot."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import Machine
from ringmill.node.jobs.slots import Slots
from ringmill.node.jobs.workers.orders_ahead import OrdersAhead
from ringmill.node.node_options import CoordinatorOptions

N1, N2 = NodeId("n1"), NodeId("n2")
LOTS = 1 << 30


@dataclass
class Work:
    """A job with tasks that wait; on `avoided` it begins none."""

    waiting: int = LOTS
    avoided: NodeId | None = None
    runs: list[tuple[NodeId, AttemptId]] = field(default_factory=list)
    begun: int = 0
    ahead: int = 0

    def orders_ahead(self, node: NodeId, slots: int) -> int:
        return self.ahead

    def wants_a_slot(self) -> bool:
        return self.waiting > 0

    def take_slot(self, node: NodeId) -> AttemptId | None:
        if not self.waiting or node == self.avoided:
            return None
        self.waiting -= 1
        self.begun += 1
        attempt = AttemptId("map", self.begun, 1)
        self.runs.append((node, attempt))
        return attempt


class Shared:
    def __init__(self, **capacity: int) -> None:
        self.now = 0.0
        self.slots = Slots(lambda: self.now)
        self.jobs: dict[str, Work] = {}
        for node, slots in capacity.items():
            self.slots.learn(NodeId(node), slots)

    def join(self, name: str, work: Work, weight: int = 1) -> Work:
        self.jobs[name] = work
        self.slots.join(name, work, weight)
        return work

    def deal(self) -> dict[str, int]:
        self.slots.deal([N1, N2])
        return {name: len(work.runs) for name, work in self.jobs.items()}

    def end_one(self, name: str) -> None:
        node, attempt = self.jobs[name].runs.pop(0)
        self.slots.release(node, name, attempt)


def test_slots_are_shared_by_weight() -> None:
    w = Shared(n1=4, n2=4)
    w.join("a", Work())
    w.join("b", Work(), weight=3)
    assert w.deal() == {"a": 2, "b": 6}


def test_a_job_that_comes_later_gets_its_share_as_attempts_of_others_end() -> None:
    w = Shared(n1=4)
    w.join("a", Work())
    assert w.deal() == {"a": 4}
    w.join("b", Work())
    assert w.deal() == {"a": 4, "b": 0}, "no attempt is stopped"
    for held in ({"a": 3, "b": 1}, {"a": 2, "b": 2}):
        w.end_one("a")
        assert w.deal() == held
    for _ in range(10):
        w.end_one("a")
        assert w.deal() == {"a": 2, "b": 2}


def test_of_one_slot_each_job_has_its_turn_and_none_starves() -> None:
    w = Shared(n1=1)
    w.join("a", Work(), weight=1000)
    w.join("b", Work())
    turns: Counter[str] = Counter()
    for _ in range(10):
        (name,) = (name for name, held in w.deal().items() if held)
        turns[name] += 1
        w.end_one(name)
    assert turns == {"a": 5, "b": 5}


def test_a_slot_that_a_job_does_not_take_goes_to_the_next_one() -> None:
    w = Shared(n1=2, n2=2)
    w.join("a", Work(avoided=N1))
    w.join("b", Work(waiting=1))
    assert w.deal() == {"a": 2, "b": 1}
    assert {node for node, _ in w.jobs["a"].runs} == {N2}


def test_a_job_that_leaves_gives_its_slots_back() -> None:
    w = Shared(n1=2)
    w.join("a", Work())
    w.deal()
    w.jobs.pop("a")
    w.slots.leave("a")
    w.join("b", Work())
    assert w.deal() == {"b": 2}


def test_orders_wait_at_a_node_for_the_one_job_that_wants_slots() -> None:
    w = Shared(n1=1, n2=0)
    w.join("a", Work(ahead=2))
    assert w.deal() == {"a": 3}, "one that runs and two that wait; none at a node without slots"
    w.join("b", Work(ahead=2))
    w.end_one("a")
    assert w.deal() == {"a": 2, "b": 0}
    w.end_one("a")
    w.end_one("a")
    assert w.deal() == {"a": 0, "b": 1}, "the slot is free when all have ended, and nothing is spoken for"


def test_orders_ahead_follow_the_pace_of_a_node_and_leave_the_last_tasks_to_whoever_is_free() -> None:
    ahead = OrdersAhead.of(CoordinatorOptions())
    assert ahead.at(N1, "map", 1, 1000, 2) == 0, "nothing is known yet"
    ahead.ended(N1, "map", 0.010)
    ahead.ended(N1, "map", 0.030)
    assert (ahead.at(N1, "map", 1, 1000, 2), ahead.at(N2, "map", 1, 1000, 2)) == (6, 0)
    assert ahead.at(N1, "map", 2, 1000, 2) == 12
    assert ahead.at(N1, "map", 1, 12, 2) == 3
    assert ahead.at(N1, "map", 1, 3, 2) == 0
    assert ahead.at(N1, "reduce", 1, 1000, 2) == 0, "another stage has another pace"
    ahead.ended(N2, "map", 0.2)
    assert ahead.at(N2, "map", 1, 1000, 2) == 1
    ahead.ended(N2, "map", 2.2)
    assert ahead.at(N2, "map", 1, 1000, 2) == 0


def test_a_node_that_offers_no_slots_is_told_apart_from_one_that_has_said_nothing() -> None:
    world = Shared(n1=0)
    assert not world.slots.are_at(N1)
    assert world.slots.are_at(N2)
    world.slots.learn(N1, 1)
    assert world.slots.are_at(N1)


def test_a_node_that_offered_slots_is_waited_for_for_five_minutes() -> None:
    shared = Shared(n1=1, n2=0)
    assert (shared.slots.were_at(N1), shared.slots.were_at(N2)) == (True, False), "n2 never had any"
    assert shared.slots.were_at(NodeId("n3")), "it has said nothing yet: a former coordinator has met it"
    shared.slots.learn(N1, 0)
    shared.now = 299.0
    assert not shared.slots.are_at(N1)
    assert shared.slots.were_at(N1), "it cannot start processes for a moment"
    shared.now = 300.0
    assert not any(map(shared.slots.were_at, (N1, N2, NodeId("n3"))))


TWO_CORES = Machine("host", 2)


def test_nodes_of_one_machine_have_no_more_slots_in_use_than_it_has_cores() -> None:
    shared, third = Shared(), NodeId("n3")
    for node in (N1, N2, third):
        shared.slots.learn(node, 2, TWO_CORES)
    elsewhere = NodeId("n4")
    shared.slots.learn(elsewhere, 1, Machine("other host", 2))
    work = shared.join("job", Work())
    shared.slots.deal([N1, N2, third, elsewhere])
    assert Counter(node for node, _ in work.runs) == {N1: 2, elsewhere: 1}


def test_an_answer_without_the_machine_leaves_what_is_known_of_it() -> None:
    shared = Shared()
    for node in (N1, N2):
        shared.slots.learn(node, 2, TWO_CORES)
        shared.slots.learn(node, 2)  # as orders are answered
    work = shared.join("job", Work())
    shared.slots.deal([N1, N2])
    assert len(work.runs) == 2


def test_a_node_takes_the_slot_that_another_one_of_its_machine_leaves() -> None:
    shared = Shared()
    for node in (N1, N2):
        shared.slots.learn(node, 2, TWO_CORES)
    work = shared.join("job", Work())
    shared.slots.deal([N1, N2])
    assert [node for node, _ in work.runs] == [N1, N1]
    work.avoided = N1  # where its next task has failed
    node, attempt = work.runs.pop()
    shared.slots.release(node, "job", attempt)
    shared.slots.deal([N1])
    assert [node for node, _ in work.runs] == [N1, N2]


def test_a_node_that_does_not_answer_takes_nothing_from_its_machine() -> None:
    shared = Shared()
    for node in (N1, N2):
        shared.slots.learn(node, 2, TWO_CORES)
    work = shared.join("job", Work())
    shared.slots.deal([N1, N2])
    shared.slots.lose(N1)
    shared.slots.deal([N2])
    assert [node for node, _ in work.runs] == [N1, N1, N2, N2]


def test_orders_ahead_take_no_slot_of_a_machine_and_wait_where_one_is_in_use() -> None:
    shared = Shared()
    for node in (N1, N2):
        shared.slots.learn(node, 1, Machine("host", 1))
    work = shared.join("job", Work(ahead=3))
    shared.slots.deal([N1, N2])
    assert Counter(node for node, _ in work.runs) == {N1: 4}, "one runs, and three wait for it"


def test_the_most_that_a_node_tells_of_its_machine_counts_and_0_is_any_number() -> None:
    shared = Shared()
    shared.slots.learn(N1, 1, Machine("host", 1))
    shared.slots.learn(N2, 3, Machine("host", 3))
    work = shared.join("job", Work())
    shared.slots.deal([N1, N2])
    assert len(work.runs) == 3
    for node in (N1, N2):
        shared.slots.learn(node, 3, Machine("host", 0))
    shared.slots.deal([N1, N2])
    assert len(work.runs) == 6


def test_a_node_that_offers_slots_again_lacks_nothing_though_its_answer_did_not_say_so() -> None:
    """The answer to an order has its slots, and no word of what it lacks."""
    shared = Shared()
    shared.slots.learn(N1, 0, Machine("host", 4), "its machine has no memory left")
    assert [each.node for each in shared.slots.lacking([N1, N2])] == [N1]
    shared.slots.learn(N1, 2)
    assert shared.slots.lacking([N1, N2]) == ()
    shared.slots.learn(N1, 0)
    assert shared.slots.lacking([N1, N2]) == ()
