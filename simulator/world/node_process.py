"""One node of a simulated cluster over all its runs: started, killed, paused, stopped, started again.

A run is the production composition (node/assembly.py) as a process of the loop, on this node's disk.  A
killed run is dropped where it stands: its callbacks never run again and its door to the disk is shut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from ringmill.cluster.errors import CorruptData, DiskFull
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import FileSystem
from ringmill.node.assembly import Node, running_node
from ringmill.node.config import NodeConfig
from ringmill.node.core import Doors
from ringmill.node.identity.identity import FolderRefused
from ringmill.node.replica.object_batch import Admission, ObjectBatch
from ringmill.node.replica.object_store import Intent, Written
from ringmill.node.replica.stored_key import Place
from ringmill.node.service_tables import service_tables
from ringmill.node.storage.engine import Commit
from ringmill.node.storage.storage_errors import StorageFailed
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.disk.run_files import NodeDisk, RunFiles
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

__all__ = ["DATA", "SHARED", "NodeProcess", "NodeStart", "SharedWorld"]

DATA: Final = "/data"
SHARED: Final = "/shared"
"""A folder on a file system that all nodes see: where jobs read and write."""
_ON_SHARED: Final = f"{SHARED}/"
_LONGEST_BOOTED_S: Final = 1e6  # machines were started at different times, so their boot clocks differ
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SharedWorld:
    """What all nodes of a world share."""

    seed: int
    loop: VirtualLoop
    network: Network
    trace: Trace
    tunables: Tunables
    shared: FolderTree
    pace: TaskPace
    coordinated: list[Coordinated] = field(default_factory=list)  # every write that a node coordinates


@dataclass(slots=True)
class NodeStart:
    """One start of the node."""

    process: Process
    files: RunFiles
    transport: SimulatedTransport
    is_up: asyncio.Event
    is_stopping: asyncio.Event
    life: asyncio.Task[None] | None = None
    node: Node | None = None
    doors: Doors | None = None
    spawner: TaskSpawner | None = None


class NodeProcess:
    def __init__(self, name: NodeId, address: str, world: SharedWorld, *, host: str = "") -> None:
        """`host` is the process's own name, where two of them claim to be one node."""
        self.name = name
        self.host = host or name
        self.address = address
        booted_s = stream(world.seed, f"{name}/boot").random() * _LONGEST_BOOTED_S
        self.clock = SimulatedClock(world.loop, booted_s=booted_s)
        self.disk = NodeDisk(
            self.host, stream(world.seed, f"{self.host}/disk"), world.trace, latency_s=world.tunables.disk_s
        )
        self.crashes: list[float] = []  # when it forgot what was in memory
        self.failures: list[BaseException] = []  # what ended a run, or was raised by a handler: bugs
        self.has_twin = False  # a copy of its folder was started beside it
        self._world = world
        self._runs: list[NodeStart] = []

    @property
    def run(self) -> NodeStart | None:
        """The present run; None between two runs."""
        return self._runs[-1] if self._runs and self._runs[-1].process.alive else None

    @property
    def node(self) -> Node | None:
        """The parts of the present run, once it is up."""
        return self.run.node if self.run else None

    @property
    def is_running(self) -> bool:
        """There is a run and it has not ended by itself."""
        return self.run is not None and self.run.life is not None and not self.run.life.done()

    @property
    def serves(self) -> bool:
        """The present run is up and takes requests."""
        return self.node is not None and self.is_running and self.node.membership.topology.serving

    @property
    def has_child_at_work(self) -> bool:
        """Whether a flush or a compaction is in progress."""
        return self.spawner is not None and self.spawner.is_at_work

    @property
    def spawner(self) -> TaskSpawner | None:
        """What the present run starts its child processes with."""
        return self.run.spawner if self.run else None

    def start(self) -> None:
        """Begin a run; nothing is awaited."""
        assert self.run is None, f"{self.name} runs already"
        world = self._world
        process = world.loop.process(self.host)
        transport = SimulatedTransport(
            self.host,
            loop=world.loop,
            network=world.network,
            process=process,
            clock=self.clock,
            is_listening=False,
            gather_s=world.tunables.gather_s,
        )
        run = NodeStart(process, RunFiles(self.disk), transport, asyncio.Event(), asyncio.Event())
        self._runs.append(run)
        self.disk.was_faulty = False
        world.trace.note(self.host, f"starts run {len(self._runs)}")
        run.life = world.loop.spawn(process, self._live(run, len(self._runs)))
        run.life.add_done_callback(self._note_end)

    def beside(self, kept: LossyDisk, host: str) -> NodeProcess:
        """A process that would run as this node on a copy of its folder, under another address."""
        twin = NodeProcess(self.name, f"{host}:7100", self._world, host=host)
        twin.disk.put_back(kept)
        return twin

    def kill(self, model: CrashModel | None) -> None:
        """End the run at once.  With a model its machine loses power, without one the page cache survives."""
        run = self.run
        if run is None:
            return
        world = self._world
        world.trace.note(self.name, f"is killed {model.value if model else 'alone'}")
        self.crashes.append(world.loop.time())
        self.failures += self._bugs_of(run)
        world.loop.kill(run.process)
        self._cut_children_short(run)
        self._kill_tasks(run)
        run.files.seal()
        if model is None:
            world.network.break_connections(self.host)
        else:
            self.disk.cut_power(model)

    def _cut_children_short(self, run: NodeStart) -> None:
        """Kill a flush or compaction in progress with its node, half done."""
        if run.doors is not None and run.spawner is not None:
            draws = stream(self._world.seed, f"{self.name}/{len(self._runs)}/children")
            for _ in range(run.spawner.cut_short(run.doors.files, draws)):
                self._world.trace.fault("child_cut", self.name)

    def _kill_tasks(self, run: NodeStart) -> None:
        """A task process dies with its node."""
        if run.spawner is not None:
            run.spawner.kill_all()

    def kill_children(self) -> None:
        """Flushes and merges that are under way die, and the node lives."""
        run = self.run
        if run is not None and run.doors is not None and run.spawner is not None:
            draws = stream(self._world.seed, f"{self.name}/{len(self._runs)}/killed children")
            run.spawner.kill_children(run.doors.files, draws)

    def pause(self) -> None:
        if self.run is not None:
            self._world.trace.note(self.name, "is paused")
            self._world.loop.pause(self.run.process)

    def resume(self) -> None:
        if self.run is not None and self.run.process.paused:
            self._world.trace.note(self.name, "is resumed")
            self._world.loop.resume(self.run.process)

    async def stop(self) -> None:
        """An orderly end, as of SIGTERM; returns when the process is gone, however that came."""
        run = self.run
        if run is None or run.life is None:
            return
        run.is_stopping.set()
        while run.process.alive and not run.life.done():
            await asyncio.wait([run.life], timeout=0.05)
        if run.process.alive:
            self.failures += self._bugs_of(run)
            self._world.loop.kill(run.process)
            self._kill_tasks(run)
            run.files.seal()
            self._world.network.break_connections(self.host)
            self._world.trace.note(self.name, "has stopped")

    async def up(self) -> Node:
        """The parts of the present run, once it is up.  Raises RuntimeError when it ends before."""
        run = self.run
        if run is None or run.life is None:
            raise RuntimeError(f"{self.name} does not run")
        waiting = asyncio.ensure_future(run.is_up.wait())
        await asyncio.wait([waiting, run.life], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if run.node is None:
            raise RuntimeError(f"{self.name} ended while it started")
        return run.node

    def inside(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something as part of the present run."""
        assert self.run is not None, f"{self.name} does not run"
        return self._world.loop.spawn(self.run.process, work)

    def bugs(self) -> list[BaseException]:
        """What ended runs or was raised by handlers and is no error of ours nor of a disk that was faulty."""
        return self.failures + self.disk.reused + (self._bugs_of(self.run) if self.run else [])

    def _bugs_of(self, run: NodeStart) -> list[BaseException]:
        return [error for error in run.transport.bugs if not self._is_excused(error)]

    async def _live(self, run: NodeStart, number: int) -> None:
        world = self._world
        config = NodeConfig(self.name, self.address, DATA, token=TOKEN, profile=world.tunables.profile)
        run.doors = doors = self._doors(run, number)
        async with running_node(config, doors, world.tunables.node) as node:
            run.node = node
            self._watch(node)
            for method, handler in over_frames(service_tables(node, PROCESS), self.clock).items():
                run.transport.serve(method, handler)
            run.transport.is_listening = True
            run.is_up.set()
            await run.is_stopping.wait()
            await run.transport.drain(world.tunables.drain_s)

    def _doors(self, run: NodeStart, number: int) -> Doors:
        """The world as this run sees it."""
        world, owner = self._world, f"{self.host}/{number}"

        def mounted(path: str) -> FileSystem:
            return world.shared if _is_shared(path) else run.files

        def before(path: str) -> None:
            if _is_shared(path):
                run.files.check_writable(path)
                world.shared.before_change(path)

        files = Door(mounted, before)
        run.spawner = TaskSpawner(
            stream(world.seed, f"{owner}/spawner"),
            stream(world.seed, f"{owner}/tasks"),
            owner=owner,
            loop=world.loop,
            files=files,
            trace=world.trace,
            pace=world.pace,
        )
        return Doors(
            clock=self.clock,
            entropy=SeededEntropy(world.seed, owner),
            files=files,
            spawner=run.spawner,
            transport=run.transport,
        )

    def _watch(self, node: Node) -> None:
        """Note each write that the node coordinates, at the moment it is in its log."""
        objects = node.replica.objects
        write, write_into, commit = objects.write, objects.write_into, objects.commit
        waiting: list[tuple[bytes, Intent, Written]] = []

        def note(key: bytes, intent: Intent, written: Written) -> None:
            if not written.is_repeat:
                at, dot = self._world.loop.time(), str(written.sibling.dot)
                self._world.coordinated.append(Coordinated(at, self.name, key, intent.value, dot))

        async def noted(place: Place, intent: Intent, admit: Admission) -> Written:
            written = await write(place, intent, admit)  # nothing is awaited between the log and here
            note(place.key, intent, written)
            return written

        def gathered(batch: ObjectBatch, place: Place, intent: Intent, admit: Admission) -> Written:
            written = write_into(batch, place, intent, admit)
            waiting.append((place.key, intent, written))
            return written

        def committed(batch: ObjectBatch) -> Commit | None:
            done = waiting[:]
            waiting.clear()  # of a batch that fails nothing was written
            told = commit(batch)
            for each in done:
                note(*each)
            return told

        objects.write = noted  # type: ignore[method-assign]
        objects.write_into = gathered  # type: ignore[method-assign]
        objects.commit = committed  # type: ignore[method-assign]

    def _note_end(self, life: asyncio.Task[None]) -> None:
        error = None if life.cancelled() else life.exception()
        if error is not None and not self._is_excused(error):
            self.failures.append(error)

    def _is_excused(self, error: BaseException) -> bool:
        """A disk that failed in this run, is full or rots may end it, and so may a copy of a folder."""
        if (self.disk.is_old_copy or self.has_twin) and isinstance(error, FolderRefused):
            return True
        return self.disk.may_end_a_run and _is_of_the_disk(error)


def _is_shared(path: str) -> bool:
    return path == SHARED or path.startswith(_ON_SHARED)


def _is_of_the_disk(error: BaseException) -> bool:
    """Nothing else is in there."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_of_the_disk(inner) for inner in error.exceptions)
    return isinstance(error, OSError | StorageFailed | DiskFull | CorruptData)
