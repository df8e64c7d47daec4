"""One node of a simulated cluster over all its starts: started, killed, paused, stopped, started again.

A start is the production composition (node/assembly.py) as a process of the loop, on this node's disk.  A
killed start is dropped where it stands: its callbacks never run again and its door to the disk is shut.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ringmill.cluster.errors import CorruptData, DiskFull
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import FileSystem, MemoryLeft
from ringmill.node.assembly import Node, running_node
from ringmill.node.config import NodeConfig
from ringmill.node.core import Doors
from ringmill.node.identity.identity import FolderRefused
from ringmill.node.leaving import leave_service
from ringmill.node.replica.object_batch import Admit, ObjectBatch
from ringmill.node.replica.object_store import Intent, Written
from ringmill.node.replica.stored_key import Place, parse_object_key
from ringmill.node.service_tables import service_tables
from ringmill.node.storage.engine import Commit
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.disk.start_files import NodeDisk, StartFiles
from ringmill.simulator.history import Coordinated
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.door import Door
from ringmill.simulator.world.network import Network
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.services import PROCESS, TOKEN, over_frames
from ringmill.simulator.world.tasks import TaskPace, TaskSpawner
from ringmill.simulator.world.transport import SimulatedTransport
from ringmill.simulator.world.tunables import Tunables
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop

__all__ = ["DATA", "SHARED", "NodeEnvironment", "NodeProcess", "NodeStart"]

DATA: Final = "/data"
SHARED: Final = "/shared"
"""A folder on a file system that all nodes see: where jobs read and write."""
_ON_SHARED: Final = f"{SHARED}/"
_LONGEST_STOP_S: Final = 300.0  # far above every timeout of a node and every pause of one
_LONGEST_BOOTED_S: Final = 1e6  # machines were started at different times, so their boot clocks differ
T = TypeVar("T")


@dataclass(slots=True)
class NodeEnvironment:
    """What a simulated node runs in: the parts of a world that all its nodes share."""

    seed: int
    loop: VirtualLoop
    network: Network
    trace: Trace
    tunables: Tunables
    shared: FolderTree
    pace: TaskPace
    coordinated: list[Coordinated] = field(default_factory=list)  # every write that a node coordinates
    on_up: list[Callable[[str, Node], None]] = field(default_factory=list)  # called at each start of a node
    on_purged: Callable[[str, Place, bytes], None] = lambda name, place, old: None


@dataclass(slots=True)
class NodeStart:
    """One start of the node."""

    process: Process
    files: StartFiles
    transport: SimulatedTransport
    is_up: asyncio.Event
    is_stopping: asyncio.Event
    at: float  # on the loop's clock
    life: asyncio.Task[None] | None = None
    node: Node | None = None
    doors: Doors | None = None
    spawner: TaskSpawner | None = None


class NodeProcess:
    def __init__(self, name: NodeId, address: str, environment: NodeEnvironment, *, host: str = "") -> None:
        """`host` is the process's own name, where two of them claim to be one node."""
        self.name = name
        self.host = host or name
        self.address = address
        booted_s = stream(environment.seed, f"{name}/boot").random() * _LONGEST_BOOTED_S
        self.clock = SimulatedClock(environment.loop, booted_s=booted_s)
        self.disk = NodeDisk(
            self.host,
            stream(environment.seed, f"{self.host}/disk"),
            environment.trace,
            latency_s=environment.tunables.disk_s,
        )
        self.crashes: list[float] = []  # when it forgot what was in memory
        self.power_cuts: list[float] = []  # when it forgot what was in the page cache, too
        self.failures: list[BaseException] = []  # what ended a start, or was raised by a handler: bugs
        self.memory_left: tuple[
            MemoryLeft, ...
        ] = ()  # as its kernel tells it; nothing where no fault needs it
        self.has_twin = False  # a copy of its folder was started beside it
        self._environment = environment
        self._starts: list[NodeStart] = []

    @property
    def current(self) -> NodeStart | None:
        """The present start; None between two of them."""
        return self._starts[-1] if self._starts and self._starts[-1].process.alive else None

    @property
    def node(self) -> Node | None:
        """The parts of the present start, once it is up."""
        return self.current.node if self.current else None

    @property
    def is_running(self) -> bool:
        """It is started and has not ended by itself."""
        return self.current is not None and self.current.life is not None and not self.current.life.done()

    @property
    def serves(self) -> bool:
        """The present start is up and takes requests."""
        return self.node is not None and self.is_running and self.node.membership.topology.serving

    @property
    def was_set_forwards_s(self) -> float:
        """How long ago its clock was set forwards first, where this start has met it; else infinite."""
        stepped_at = self.clock.first_ahead
        if stepped_at is None or self.current is None or self.current.at >= stepped_at:
            return math.inf
        return self._environment.loop.time() - stepped_at

    @property
    def takes_writes(self) -> bool:
        """The present start is up, no jump of its clock waits to be judged (V6), and its disk has room."""
        node = self.node
        return node is not None and not node.core.hybrid.jumped_ms and node.replica.engine.is_writable

    @property
    def has_child_at_work(self) -> bool:
        """Whether a flush or a compaction is in progress."""
        return self.spawner is not None and self.spawner.is_at_work

    @property
    def spawner(self) -> TaskSpawner | None:
        """What the present start runs its child processes with."""
        return self.current.spawner if self.current else None

    def start(self, *, is_last_again: bool = False) -> None:
        """Begin a start; nothing is awaited.  `is_last_again`: it draws all that the last one has drawn, its
        boot id, too, so that on the disk as it was before that one it is the same start."""
        assert self.current is None, f"{self.name} runs already"
        environment, number = self._environment, len(self._starts) + (not is_last_again)
        process = environment.loop.process(self.host)
        transport = SimulatedTransport(
            self.host,
            loop=environment.loop,
            network=environment.network,
            process=process,
            clock=self.clock,
            is_listening=False,
            gather_s=environment.tunables.gather_s,
        )
        start = NodeStart(
            process,
            StartFiles(self.disk),
            transport,
            asyncio.Event(),
            asyncio.Event(),
            environment.loop.time(),
        )
        self._starts.append(start)
        self.disk.was_faulty = False
        environment.trace.note(self.host, f"starts run {len(self._starts)}")
        start.life = environment.loop.spawn(process, self._live(start, number))
        start.life.add_done_callback(self._note_end)

    def beside(self, kept: LossyDisk, host: str) -> NodeProcess:
        """A process that would run as this node on a copy of its folder, under another address."""
        twin = NodeProcess(self.name, f"{host}:7100", self._environment, host=host)
        twin.disk.put_back(kept)
        return twin

    def kill(self, model: CrashModel | None, *, is_crash: bool = True) -> None:
        """End the start at once.  With a model its machine loses power, else the page cache survives.  It is
        no crash where the node owes nothing any more: then none may forget what it has acknowledged."""
        start = self.current
        if start is None:
            return
        environment = self._environment
        environment.trace.note(self.name, f"is killed {model.value if model else 'alone'}")
        if is_crash:
            self.crashes.append(environment.loop.time())
            if model is not None:
                self.power_cuts.append(environment.loop.time())
        self.failures += self._bugs_of(start)
        environment.loop.kill(start.process)
        self._cut_children_short(start)
        self._kill_tasks(start)
        start.files.seal()
        if model is None:
            environment.network.break_connections(self.host)
        else:
            self.disk.cut_power(model)

    def _cut_children_short(self, start: NodeStart) -> None:
        """Kill a flush or compaction in progress with its node, half done."""
        if start.doors is not None and start.spawner is not None:
            draws = stream(self._environment.seed, f"{self.name}/{len(self._starts)}/children")
            for _ in range(start.spawner.cut_short(start.doors.files, draws)):
                self._environment.trace.fault("child_cut", self.name)

    def _kill_tasks(self, start: NodeStart) -> None:
        """A task process dies with its node."""
        if start.spawner is not None:
            start.spawner.kill_all()

    def kill_children(self) -> None:
        """Flushes and merges that are under way die, and the node lives."""
        start = self.current
        if start is not None and start.doors is not None and start.spawner is not None:
            draws = stream(self._environment.seed, f"{self.name}/{len(self._starts)}/killed children")
            start.spawner.kill_children(start.doors.files, draws)

    def pause(self) -> None:
        if self.current is not None:
            self._environment.trace.note(self.name, "is paused")
            self._environment.loop.pause(self.current.process)

    def resume(self) -> None:
        if self.current is not None and self.current.process.paused:
            self._environment.trace.note(self.name, "is resumed")
            self._environment.loop.resume(self.current.process)

    async def stop(self) -> None:
        """An orderly end, as of SIGTERM; returns when the process is gone, however that came."""
        start = self.current
        if start is None or start.life is None:
            return
        start.is_stopping.set()
        asked_at = self._environment.loop.time()
        while start.process.alive and not start.life.done():
            await asyncio.wait([start.life], timeout=0.05)
            if self._environment.loop.time() - asked_at > _LONGEST_STOP_S:
                self.failures.append(AssertionError(f"{self.name} was told to stop and did not end"))
                break
        if start.process.alive:
            self.failures += self._bugs_of(start)
            self._environment.loop.kill(start.process)
            self._kill_tasks(start)
            start.files.seal()
            self._environment.network.break_connections(self.host)
            self._environment.trace.note(self.name, "has stopped")

    async def up(self) -> Node:
        """The parts of the present start, once it is up.  Raises RuntimeError when it ends before."""
        start = self.current
        if start is None or start.life is None:
            raise RuntimeError(f"{self.name} does not run")
        waiting = asyncio.ensure_future(start.is_up.wait())
        await asyncio.wait([waiting, start.life], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if start.node is None:
            raise RuntimeError(f"{self.name} ended while it started")
        return start.node

    def inside(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as part of the present start."""
        assert self.current is not None, f"{self.name} does not run"
        return self._environment.loop.spawn(self.current.process, work)

    def bugs(self) -> list[BaseException]:
        """What ended starts or was raised by handlers, and is no error of ours nor of a faulty disk."""
        return self.failures + self.disk.reused + (self._bugs_of(self.current) if self.current else [])

    def _bugs_of(self, start: NodeStart) -> list[BaseException]:
        return [error for error in start.transport.bugs if not self._is_excused(error)]

    async def _live(self, start: NodeStart, number: int) -> None:
        environment = self._environment
        config = NodeConfig(self.name, self.address, DATA, token=TOKEN, profile=environment.tunables.profile)
        start.doors = doors = self._doors(start, number)
        async with running_node(config, doors, environment.tunables.node) as node:
            start.node = node
            start.transport.load = lambda: node.core.gate.load
            self._watch(node)
            for listener in environment.on_up:
                listener(self.host, node)
            for method, handler in over_frames(service_tables(node, PROCESS), self.clock).items():
                start.transport.serve(method, handler)
            start.transport.is_listening = True
            start.is_up.set()
            await start.is_stopping.wait()
            node.requests.end_watches()
            await leave_service(node)
            await start.transport.drain(environment.tunables.drain_s)

    def _doors(self, start: NodeStart, number: int) -> Doors:
        """The five doors of one start."""
        environment, owner = self._environment, f"{self.host}/{number}"

        def mounted(path: str) -> FileSystem:
            return environment.shared if _is_shared(path) else start.files

        def before(path: str) -> None:
            if _is_shared(path):
                start.files.check_writable(path)
                environment.shared.before_change(path)

        files = Door(mounted, before)
        start.spawner = TaskSpawner(
            stream(environment.seed, f"{owner}/spawner"),
            stream(environment.seed, f"{owner}/tasks"),
            owner=owner,
            loop=environment.loop,
            files=files,
            trace=environment.trace,
            pace=environment.pace,
        )
        return Doors(
            clock=self.clock,
            entropy=SeededEntropy(environment.seed, owner),
            files=files,
            spawner=start.spawner,
            transport=start.transport,
            memory_left=lambda: self.memory_left,
        )

    def _watch(self, node: Node) -> None:
        """Note each write that the node coordinates, at the moment it is in its log."""
        objects = node.replica.objects
        write, write_into, commit = objects.write, objects.write_into, objects.commit
        waiting: list[tuple[bytes, Intent, Written]] = []

        def note(key: bytes, intent: Intent, written: Written) -> None:
            if not written.is_repeat:
                at, dot = self._environment.loop.time(), str(written.sibling.dot)
                self._environment.coordinated.append(
                    Coordinated(
                        at, self.name, key, written.sibling.value, dot, intent.touched_value is not None
                    )
                )

        async def noted(place: Place, intent: Intent, admit: Admit) -> Written:
            written = await write(place, intent, admit)  # nothing is awaited between the log and here
            note(place.key, intent, written)
            return written

        def gathered(batch: ObjectBatch, place: Place, intent: Intent, admit: Admit) -> Written:
            written = write_into(batch, place, intent, admit)
            waiting.append((place.key, intent, written))
            return written

        def committed(batch: ObjectBatch) -> Commit | None:
            done = waiting[:]
            waiting.clear()  # of a batch that fails nothing was written
            written = commit(batch)
            for each in done:
                note(*each)
            return written

        forgotten = objects.note_forgotten

        def purged(key: bytes, old: bytes) -> None:
            forgotten(key, old)
            self._environment.on_purged(self.name, parse_object_key(key), old)

        objects.note_forgotten = purged  # type: ignore[method-assign]
        objects.write = noted  # type: ignore[method-assign]
        objects.write_into = gathered  # type: ignore[method-assign]
        objects.commit = committed  # type: ignore[method-assign]

    def _note_end(self, life: asyncio.Task[None]) -> None:
        error = None if life.cancelled() else life.exception()
        if error is not None and not self._is_excused(error):
            self.failures.append(error)

    def _is_excused(self, error: BaseException) -> bool:
        """A disk that failed in this start, is full or rots may end it, and so may a copy of a folder."""
        if (self.disk.is_old_copy or self.has_twin) and isinstance(error, FolderRefused):
            return True
        return self.disk.may_end_a_start and _is_of_the_disk(error)


def _is_shared(path: str) -> bool:
    return path == SHARED or path.startswith(_ON_SHARED)


def _is_of_the_disk(error: BaseException) -> bool:
    """Nothing else is in there."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_of_the_disk(inner) for inner in error.exceptions)
    return isinstance(error, OSError | StorageFailed | DiskFull | CorruptData)
