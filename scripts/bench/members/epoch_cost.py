"""What one epoch of the topology costs a node, stage by stage, while a node joins and another one leaves.

    python scripts/bench/members/epoch_cost.py [--quick] [--partitions 256] [--rounds 5] [--json PATH]

One process.  The documents are those of a plan: five members get a sixth one, and then one of the five
leaves.  They are given to one node, with all its rooms and its folder on a real disk, and with no other node:
a vote of each document (promise and accept), its adoption, and all that the node does for it afterwards.
`loop_us` is the processor time of the loop's thread, `longest_us` that of the longest turn of the loop, and
`held_us` what the longest one held the loop up for, waits for the disk and for a processor included; medians
over all epochs.  The plain functions, those of a proposer and of a client among them, are told beside it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import ROOT
from report import Report, arguments
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId, PartitionId
from ringmill.cluster.ports import BatchHandler, Handler, Incoming, Priority
from ringmill.cluster.ring import document
from ringmill.cluster.ring import topology as topology_module
from ringmill.cluster.ring.moves import advanced, left
from ringmill.cluster.ring.plans.member_changes import MemberChanges
from ringmill.cluster.ring.plans.membership import with_members
from ringmill.cluster.ring.succession import check_follows, check_next
from ringmill.cluster.ring.topology import Topology, first_topology
from ringmill.cluster.ring.topology_entries import JOINT_1, JOINT_2, Member, Owner
from ringmill.node.assembly import Node, running_node
from ringmill.node.config import NodeConfig
from ringmill.node.core import Doors
from ringmill.node.membership.epoch_messages import EPOCH_ACCEPT, EPOCH_PREPARE, EpochRequest
from ringmill.node.node_options import NodeOptions

MEMBERS: Final = 5
TOGETHER: Final = 32  # partitions of a joiner, as long as a node does not know how fast it fills copies
IDLE_S: Final = 0.02
NODE: Final = NodeId("n1")
WATCHED: Final = ("promise", "accept", "adopt", "afterwards")


class LoneTransport:
    """Nobody answers but this node's own handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None: ...

    def on_break(self, listener: Callable[[NodeId], None]) -> None: ...

    def serve(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    def serve_batch(self, method: str, handler: BatchHandler) -> None: ...

    def busy(self) -> Mapping[str, int]:
        return {}

    def send(self, to: NodeId, method: str, body: bytes, *, ended: Any, **_: Any) -> None:
        ended(Unavailable(f"{to} is not there"))

    async def call(self, to: NodeId, method: str, body: bytes, **_: Any) -> bytes:
        raise Unavailable(f"{to} is not there")

    async def ask(self, method: str, body: bytes) -> bytes:
        """As another node would."""
        incoming = Incoming(NodeId("n2"), method, body, SystemClock().boottime() + 60, Priority.CONTROL)
        found = self.handlers[method](incoming)
        return found if isinstance(found, bytes) else await found


@dataclass(slots=True)
class Turns:
    """Processor time of the turns of the loop: of each callback that it runs."""

    longest_s: float = 0.0
    held_s: float = 0.0  # what passed meanwhile: waits for the disk and for a processor count

    @contextmanager
    def watched(self) -> Iterator[None]:
        handle: Any = asyncio.Handle
        run = handle._run

        def timed(each: Any) -> None:
            begun, began = time.thread_time(), time.perf_counter()
            run(each)
            self.longest_s = max(self.longest_s, time.thread_time() - begun)
            self.held_s = max(self.held_s, time.perf_counter() - began)

        handle._run = timed
        try:
            yield
        finally:
            handle._run = run


@dataclass(slots=True)
class Stages:
    """Microseconds by stage, one figure an epoch."""

    turns: Turns
    loop: dict[str, list[float]] = field(default_factory=dict)
    longest: dict[str, list[float]] = field(default_factory=dict)
    held: dict[str, list[float]] = field(default_factory=dict)
    elapsed: dict[str, list[float]] = field(default_factory=dict)

    async def awaited(self, stage: str, work: Awaitable[object]) -> None:
        self.turns.longest_s = self.turns.held_s = 0.0
        begun, began = time.thread_time(), time.perf_counter()
        await work
        await asyncio.sleep(0)  # the turn that ended it counts, too
        self._note(self.loop, stage, time.thread_time() - begun)
        self._note(self.elapsed, stage, time.perf_counter() - began)
        self._note(self.longest, stage, self.turns.longest_s)
        self._note(self.held, stage, self.turns.held_s)

    def called(self, stage: str, work: Callable[..., object], *args: object) -> Any:
        begun = time.thread_time()
        result = work(*args)
        self._note(self.loop, stage, time.thread_time() - begun)
        return result

    def _note(self, into: dict[str, list[float]], stage: str, seconds: float) -> None:
        into.setdefault(stage, []).append(seconds * 1e6)


def members(count: int) -> list[Member]:
    numbers = range(1, count + 1)
    return [Member(NodeId(f"n{n}"), DiskId(f"{n:032x}"), f"10.0.0.{n}:7100") for n in numbers]


def moved_on(topology: Topology, seat: Owner) -> Topology | None:
    """What this joiner proposes when all that it has opened is filled, and known."""
    rows = [(PartitionId(at), row) for at, row in enumerate(topology.rows) if row.joiner == seat]
    filled = {at: row.row_epoch for at, row in rows if row.phase == JOINT_1}
    adopted = {at: row.row_epoch for at, row in rows if row.phase == JOINT_2}
    return advanced(topology, seat, filled=filled, adopted=adopted, most=TOGETHER)


def documents(first: Topology) -> list[Topology]:
    """Those of a plan by which a sixth member joins, and of one by which the fifth leaves."""
    up = members(MEMBERS + 1)
    plan = [first]
    for changes in (MemberChanges(add=[up[-1]]), MemberChanges(remove=[up[-2].id])):
        planned = with_members(plan[-1], changes, set())
        assert planned is not None
        plan.append(planned)
        while plan[-1].is_moving:
            for seat in [member.seat for member in plan[-1].members]:
                if (following := moved_on(plan[-1], seat)) is not None:
                    plan.append(following)
    if (following := left(plan[-1], up[-2].seat)) is not None:
        plan.append(following)
    return plan


def as_decoded(encoded: bytes) -> Topology:
    """Nobody has seen these bytes before; the rows of the document before are known, as in a node."""
    topology_module._decoded.cache_clear()
    return Topology.decode(encoded)


def pure(stages: Stages, documents: list[bytes], seats: list[Owner]) -> None:
    """The plain functions, on documents as they come from others."""
    for name in ("_same_row", "_table"):  # what this process has read of these documents before
        if (kept := getattr(document, name, None)) is not None:
            kept.cache_clear()
    before = as_decoded(documents[0])
    for encoded in documents[1:]:
        after = stages.called("decode", as_decoded, encoded)
        stages.called("check_next", check_next, before, after)
        stages.called("check_follows", check_follows, before, after)
        stages.called("check", after.check)
        stages.called("is_moving", Topology.is_moving.fget, after)  # type: ignore[attr-defined]
        for seat in seats:
            stages.called("advanced, by a joiner", moved_on, after, seat)
        stages.called("encode what is proposed", replace(after, epoch=Epoch(after.epoch + 1)).encode)
        before = after


async def vote_and_adopt(
    stages: Stages, node: Node, transport: LoneTransport, documents: list[bytes]
) -> None:
    agent = node.membership.topology
    for number, encoded in enumerate(documents, 2):
        cluster = agent.serving_topology().cluster
        ballot = Ballot(number, NodeId("n6"), 1, "boot")
        for stage, method, body in (("promise", EPOCH_PREPARE, b""), ("accept", EPOCH_ACCEPT, encoded)):
            request = EpochRequest(cluster, Epoch(number), ballot, bytes(bytearray(body))).encode()
            await stages.awaited(stage, transport.ask(method, request))
        await stages.awaited("adopt", agent.be_given(bytes(bytearray(encoded))))
        await stages.awaited("afterwards", asyncio.sleep(IDLE_S))
        assert agent.epoch == number, "adopted"


def time_listeners(stages: Stages, node: Node) -> None:
    agent: Any = node.membership.topology
    for at, listener in enumerate(agent._listeners):
        name = f"listener {getattr(listener, '__qualname__', listener).removesuffix('.<locals>.<lambda>')}"

        def timed(topology: Topology, listener: Any = listener, name: str = name) -> None:
            stages.called(name, listener, topology)

        agent._listeners[at] = timed


async def measure(folder: Path, partitions: int, stages: Stages) -> int:
    transport, files, clock = LoneTransport(), OsFileSystem(), SystemClock()
    async with ProcessSpawner(workers=1) as spawner:
        doors: Any = Doors(
            clock=clock, entropy=OsEntropy(), files=files, spawner=spawner, transport=transport
        )  # fmt: skip
        config = NodeConfig(NODE, "10.0.0.1:7100", str(folder))
        async with running_node(config, doors, NodeOptions()) as node:
            around = members(MEMBERS)
            around[0] = replace(around[0], disk=node.identity.disk)
            first = first_topology("bench", around, partitions=partitions)
            plan = documents(first)
            encoded = [each.encode() for each in plan]
            agent: Any = node.membership.topology
            agent.confirm_start()
            await agent.take_first(encoded[0])
            agent._forming._done.set()
            time_listeners(stages, node)
            with stages.turns.watched():
                await vote_and_adopt(stages, node, transport, encoded[1:])
            pure(stages, encoded, [member.seat for member in members(MEMBERS + 1)[-2:]])
    files.close()
    return len(encoded)


def tell(stages: Stages, report: Report) -> None:
    for stage, loop in stages.loop.items():
        figures = {"loop_us": median(loop), "most_us": max(loop)}
        if stage in stages.longest:
            figures["longest_us"] = median(stages.longest[stage])
            figures["held_us"] = median(stages.held[stage])
            figures["elapsed_us"] = median(stages.elapsed[stage])
        report.row(stage, **figures)
    whole = [sum(each) for each in zip(*(stages.loop[stage] for stage in WATCHED), strict=True)]
    report.row("all that a voter does", loop_us=median(whole), most_us=max(whole))


def main() -> None:
    parser = arguments("epoch_cost", __doc__ or "")
    parser.add_argument("--partitions", type=int, default=256, help="of the cluster")
    parser.add_argument("--rounds", type=int, default=5, help="how often it is all done anew")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.disable()  # what it finds is a matter of chance in so short a run
    rounds = 1 if options.quick else options.rounds
    stages, epochs = Stages(Turns()), 0
    place = ROOT / "build" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="epoch-", dir=place))
        try:
            epochs = asyncio.run(measure(folder, options.partitions, stages))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    settings = {"members": MEMBERS + 1, "partitions": options.partitions, "epochs": epochs, "rounds": rounds}
    report = Report("epoch_cost", settings, options.json)
    tell(stages, report)
    report.finish()


if __name__ == "__main__":
    main()
