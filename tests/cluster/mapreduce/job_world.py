"""A world of workers around one job's state machine: nodes with disks that die, restart and stutter.

It carries out the machine's instructions, keeps what a real cluster would keep, and knows what each attempt
really read, so that a commit can be judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stages import LinkRounds, place_after
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split
from ringmill.cluster.mapreduce.machine.event_codec import event_row, read_event
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptFailed,
    AttemptId,
    AttemptStarted,
    CancelAttempt,
    CommitDone,
    CommitJob,
    EndJob,
    Event,
    Instruction,
    MapDone,
    NodeDown,
    NodeUp,
    ReduceDone,
    StagePlanned,
    StartMap,
    StartReduce,
    TakenOver,
    Winner,
)
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.machine_snapshot import restored, snapshot
from ringmill.cluster.mapreduce.outputs import MapOutput, PartitionSlice, ReduceOutput

RECORDS = 10


def plan(splits: int, reducers: int, links: tuple[LinkRounds, ...] = ()) -> JobPlan:
    file = InputFile("/in", 1000 * splits, 1)
    cut = tuple(Split(n, (Piece(file, 1000 * n, 1000 * (n + 1)),)) for n in range(splits))
    return JobPlan("job", cut, reducers, links=links)


@dataclass
class Node:
    name: NodeId
    start: int = 1
    is_alive: bool = True
    running: dict[AttemptId, StartMap | StartReduce] = field(default_factory=dict)

    @property
    def start_name(self) -> str:
        return f"{self.name}.{self.start}"


class World:
    """Nodes n1, n2, ... around a machine; `salt` makes a map's output differ from attempt to attempt."""

    def __init__(self, machine: JobMachine, nodes: int, *, salt: bool = False) -> None:
        self.machine = machine
        self.salt = salt
        self.now = 0.0
        self.nodes = {name: Node(name) for name in (NodeId(f"n{n + 1}") for n in range(nodes))}
        self.outputs: dict[AttemptId, MapOutput] = {}
        self.commits: list[tuple[Winner, ...]] = []
        self.ends: list[EndJob] = []
        self.cancelled: list[AttemptId] = []
        self.told: dict[NodeId, str] = {}  # runs of nodes that the machine believes to be up
        self.ran_in: dict[AttemptId, str] = {}
        self.base = packed(snapshot(machine))
        self.journal: list[bytes] = []  # every event since `base`
        for node in self.nodes.values():
            self.say(NodeUp(node.name, node.start_name))

    def say(self, event: Event) -> list[Instruction]:
        if isinstance(event, NodeUp):
            self.told[event.node] = event.start
        elif isinstance(event, NodeDown):
            self.told.pop(event.node, None)
        before = self._winner_of(event)
        self.journal.append(packed([self.now, event_row(event)]))
        instructions = self.machine.handle(event, self.now)
        assert before is None or before == self._winner_of(event), "the first commit wins"
        for each in instructions:
            if isinstance(each, CancelAttempt):
                self.cancelled.append(each.attempt)
                self.nodes[each.node].running.pop(each.attempt, None)
            elif isinstance(each, CommitJob) and self.commits:
                assert self.commits == [each.winners], "once winners are named nothing changes"
            elif isinstance(each, CommitJob):
                self.commits.append(each.winners)
            elif isinstance(each, EndJob):
                self.ends.append(each)
        return instructions

    def _winner_of(self, event: Event) -> AttemptId | None:
        if not isinstance(event, MapDone | ReduceDone):
            return None
        tasks = self.machine.maps if isinstance(event, MapDone) else self.machine.reduces
        winner = tasks[event.attempt.task].winner if event.attempt.task < len(tasks) else None
        return winner.id if winner is not None else None

    def offer(self, node: NodeId) -> StartMap | StartReduce | None:
        if not self.nodes[node].is_alive or len(self.nodes[node].running) >= 2:
            return None
        start = self.machine.offer(node, self.now)
        if start is not None:
            assert start.node == node
            assert start.attempt not in self.ran_in, "no two attempts have one name"
            begun = self.machine._attempt(start.attempt)
            assert begun is not None
            event = AttemptStarted(start.attempt, node, begun.is_near)
            self.journal.append(packed([self.now, event_row(event)]))
            self.ran_in[start.attempt] = self.nodes[node].start_name
            for source in start.sources if isinstance(start, StartReduce) else ():
                assert self.told.get(source.node) == self.ran_in[source.attempt], "an output that is gone"
            self.nodes[node].running[start.attempt] = start
        return start

    def offer_all(self) -> list[StartMap | StartReduce]:
        starts = []
        for node in self.nodes:
            while (start := self.offer(node)) is not None:
                starts.append(start)
        return starts

    def replayed(self) -> JobMachine:
        """The machine of somebody who knows the journal alone."""
        machine = restored(unpacked(self.base))
        for entry in self.journal:
            at, row = unpacked(entry)
            machine.handle(read_event(row), at)
        return machine

    def take_over(self, name: NodeId, *, by_snapshot: bool, lost: int) -> None:
        """Another coordinator goes on.  The last `lost` attempts that the former one began are not in the
        journal, and are stopped as strays."""
        while lost and self.journal and unpacked(self.journal[-1])[1][0] == "started":
            lost -= 1
            attempt = AttemptId(*unpacked(self.journal.pop())[1][1])
            for node in self.nodes.values():
                node.running.pop(attempt, None)
        self.machine = self.replayed()
        if by_snapshot:
            self.base, self.journal = packed(snapshot(self.machine)), []
        self.say(TakenOver(name))

    def knows(self, start: StartMap | StartReduce) -> bool:
        return self.machine._attempt(start.attempt) is not None

    def plan_stage(self, splits: int, reducers: int) -> None:
        """The next stage of a chain is planned; what the former one has shown is over."""
        chain = self.machine.chain
        place = place_after(chain.links, chain.place, chain.over[-1].counters)
        assert place is not None
        self.commits.clear()
        self.say(StagePlanned(place, plan(splits, reducers).splits, reducers))

    def running(self) -> list[StartMap | StartReduce]:
        return [start for node in self.nodes.values() for start in node.running.values()]

    def finish(self, start: StartMap | StartReduce) -> list[Instruction]:
        self.nodes[start.node].running.pop(start.attempt, None)
        return self.say(self.result_of(start))

    def result_of(self, start: StartMap | StartReduce) -> MapDone | ReduceDone:
        if isinstance(start, StartMap):
            salt = start.attempt.number if self.salt else 0
            parts = self.machine.plan.reducers or 1  # or the part of the output itself
            crcs = [100 * start.attempt.task + 10 * salt + p for p in range(parts)]
            rows = tuple(PartitionSlice(0, 50, 100, RECORDS, crc) for crc in crcs)
            output = MapOutput("run", rows, {"lines": 1}, 1000, RECORDS, RECORDS * len(rows))
            self.outputs[start.attempt] = output
            return MapDone(start.attempt, output)
        records = RECORDS * len(start.sources)
        reduced = ReduceOutput(start.partition, f"part.{start.attempt}", 5, 7, {}, 3, records, 3)
        return ReduceDone(start.attempt, reduced)

    def fail(
        self,
        start: StartMap | StartReduce,
        cause: Cause,
        source: AttemptId | None = None,
        *,
        message: str = "",
        position: str = "",
    ) -> list[Instruction]:
        """An attempt fails, each time in a way of its own unless `message` says how."""
        self.nodes[start.node].running.pop(start.attempt, None)
        failure = TaskFailed(cause, message or f"{start.attempt} broke", position=position)
        return self.say(AttemptFailed(start.attempt, failure, source))

    def crash(self, name: NodeId) -> None:
        """The node is gone with all it ran; nobody has noticed yet."""
        self.nodes[name].is_alive = False
        self.nodes[name].running.clear()

    def notice(self, name: NodeId) -> list[Instruction]:
        """Membership tells the machine how the node is."""
        node = self.nodes[name]
        return self.say(NodeUp(name, node.start_name) if node.is_alive else NodeDown(name))

    def restart(self, name: NodeId) -> None:
        node = self.nodes[name]
        node.start += 1
        node.is_alive = True
        node.running.clear()

    def run_to_the_end(self) -> None:
        """No more faults: offer, finish and let time pass until the job is over."""
        for name, node in self.nodes.items():
            if not node.is_alive:
                self.restart(name)
            self.notice(name)
        for _ in range(1000):
            if self.commits and self.machine.state == "COMMITTING":
                self.say(CommitDone())
            if self.machine.state == "PLANNING":
                self.plan_stage(2, 1)
            if self.machine.is_over:
                return
            self.offer_all()
            for start in self.running():
                if start.attempt in self.nodes[start.node].running:
                    self.finish(start)
            self.now = self.machine.next_wakeup(self.now) or self.now
        raise AssertionError(f"the job is stuck in {self.machine.state}: {self.machine.story[-5:]}")

    def judge(self) -> None:
        """One commit with one winner a partition, and all winners read the same output of each map."""
        assert len(self.commits) == (self.machine.state == "SUCCEEDED")
        assert len(self.ends) == 1
        for winners in self.commits:
            parts = self.machine.plan.reducers or len(self.machine.plan.splits)
            assert [winner.attempt.task for winner in winners] == list(range(parts))
            if not self.machine.plan.reducers:
                assert [winner.output for winner in winners] == [
                    self.outputs[each.attempt] for each in winners
                ]
                continue
            for task in range(len(self.machine.plan.splits)):
                read = [self.outputs[winner.sources[task]] for winner in winners]
                final = max((winner.sources[task] for winner in winners), key=lambda each: each.number)
                for winner, output in zip(winners, read, strict=True):
                    p = winner.attempt.task
                    assert output.partitions[p].crc32c == self.outputs[final].partitions[p].crc32c


def packed(row: list[Any]) -> bytes:
    return bytes(msgpack.packb(row))


def unpacked(data: bytes) -> list[Any]:
    row: list[Any] = msgpack.unpackb(data)
    return row
