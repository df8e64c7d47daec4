"""Whatever fails, in whatever order, a job ends, its winners fit each other, and its journal tells it all."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import LinkRounds
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptId,
    CommitDone,
    NodeDown,
    StartMap,
    StartReduce,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.machine_snapshot import snapshot
from ringmill.cluster.mapreduce.machine.task_state import Blame
from tests.cluster.mapreduce.job_world import World, plan

NODES = st.sampled_from([NodeId("n1"), NodeId("n2"), NodeId("n3"), NodeId("n4")])
CAUSES = st.sampled_from(
    [Cause.USER_ERROR, Cause.DISK_FULL, Cause.OUT_OF_MEMORY, Cause.CORRUPT_DATA, Cause.KILLED]
)
LINKS = st.sampled_from(
    [
        (),
        (LinkRounds(1, ""), LinkRounds(1, "")),
        (LinkRounds(3, ""),),
        (LinkRounds(3, "none"), LinkRounds(1, "")),
        (LinkRounds(1, ""), LinkRounds(2, "", keeps_states=True)),
    ]
)
PICK = st.integers(0, 100)


class Workers(RuleBasedStateMachine):
    """Random workers, their faults and their late messages."""

    @initialize(
        splits=st.sampled_from([0, 1, 2, 3, 4, 10]),
        reducers=st.integers(0, 3),
        salt=st.booleans(),
        links=LINKS,
    )
    def begin(self, splits: int, reducers: int, salt: bool, links: tuple[LinkRounds, ...]) -> None:
        self.world = World(JobMachine(plan(splits, reducers, links)), 4, salt=salt)
        self.seen: list[StartMap | StartReduce] = []

    @rule(pick=PICK, upto=st.integers(1, 4))
    def work(self, pick: int, upto: int) -> None:
        self.seen += self.world.offer_all()
        for _ in range(upto):
            if running := self.world.running():
                self.world.finish(running[pick % len(running)])

    @rule(node=NODES)
    def offer(self, node: NodeId) -> None:
        start = self.world.offer(node)
        if start is not None:
            self.seen.append(start)

    @rule()
    def finish_the_maps(self) -> None:
        self.seen += self.world.offer_all()
        for start in self.world.running():
            if start.attempt.stage == "map" and start.attempt in self.world.nodes[start.node].running:
                self.world.finish(start)

    @rule(pick=PICK, cause=CAUSES)
    def fail(self, pick: int, cause: Cause) -> None:
        if running := self.world.running():
            start = running[pick % len(running)]
            sources = start.sources if isinstance(start, StartReduce) else ()
            source = sources[pick % len(sources)].attempt if sources and cause is Cause.CORRUPT_DATA else None
            self.world.fail(start, cause, source)

    @rule(pick=PICK)
    def a_result_comes_twice_or_from_a_zombie(self, pick: int) -> None:
        if self.seen:
            self.world.say(self.world.result_of(self.seen[pick % len(self.seen)]))

    @rule(node=NODES, is_seen=st.booleans())
    def crash(self, node: NodeId, is_seen: bool) -> None:
        self.world.crash(node)
        if is_seen:
            self.world.notice(node)

    @rule(node=NODES)
    def restart(self, node: NodeId) -> None:
        self.world.restart(node)
        self.world.notice(node)

    @rule(node=NODES)
    def notice(self, node: NodeId) -> None:
        self.world.notice(node)

    @rule(node=NODES)
    def a_node_is_called_dead_wrongly(self, node: NodeId) -> None:
        self.world.say(NodeDown(node))

    @rule(pick=PICK, is_corrupt=st.booleans())
    def a_fetch_fails(self, pick: int, is_corrupt: bool) -> None:
        reduces = [start for start in self.world.running() if isinstance(start, StartReduce)]
        if reduces and reduces[0].sources:
            start = reduces[pick % len(reduces)]
            source: AttemptId = start.sources[pick % len(start.sources)].attempt
            self.world.fail(start, Cause.CORRUPT_DATA if is_corrupt else Cause.FETCH_FAILED, source)

    @rule(node=NODES, by_snapshot=st.booleans(), lost=st.integers(0, 3))
    def another_coordinator_takes_over(self, node: NodeId, by_snapshot: bool, lost: int) -> None:
        if not self.world.machine.is_over:
            self.world.take_over(node, by_snapshot=by_snapshot, lost=lost)
            self.seen = [start for start in self.seen if self.world.knows(start)]

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def the_commit_is_carried_out(self) -> None:
        if self.world.commits and self.world.machine.state == "COMMITTING":
            self.world.say(CommitDone())

    @rule(splits=st.integers(0, 3), reducers=st.integers(0, 2))
    def the_next_stage_is_planned(self, splits: int, reducers: int) -> None:
        if self.world.machine.state == "PLANNING":
            self.world.plan_stage(splits, reducers)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.run_to_the_end()
        self.world.judge()
        assert snapshot(self.world.replayed()) == snapshot(self.world.machine), "the journal tells all"
        machine = self.world.machine
        if machine.state == "FAILED":
            budgets = {Blame.USER: 4, Blame.INFRASTRUCTURE: 8, Blame.MEMORY: 2}
            tasks = (*machine.maps, *machine.reduces)
            assert any(
                task.charged.get(blame, 0) >= most for task in tasks for blame, most in budgets.items()
            )


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
