"""The Spawner door with task processes: the task side of the protocol, run step by step in virtual time.

A simulated task process answers encoded messages with production code
(cluster/mapreduce/messages/task_service.py) over the files of its node, stops before changes to them as the
seed says, and can be killed at each stop. Its bundle is read through that door and loaded from memory; the
real loader imports from a real file.
"""

from __future__ import annotations

import asyncio
import importlib.abc
import importlib.util
import io
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from types import CodeType
from typing import Any, Final

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.api.bundle import check_bundle
from ringmill.cluster.mapreduce.api.chains.chain import JobChain
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, classify
from ringmill.cluster.mapreduce.files.splits import SplitSizes
from ringmill.cluster.mapreduce.messages.task_messages import (
    JobStep,
    LeaveOff,
    RunAttempt,
    RunStint,
    Said,
    decode_request,
)
from ringmill.cluster.mapreduce.messages.task_service import answers, do_job_step, run_attempt
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.progress import AttemptProgress, Progress
from ringmill.cluster.ports import FileSystem, TaskProcess
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.door import Door
from ringmill.simulator.world.spawner import InlineSpawner
from ringmill.simulator.world.stepped import Dropped, Stepped
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop

__all__ = ["SMALL_SPLITS", "SimulatedTask", "TaskPace", "TaskSpawner"]

SMALL_SPLITS: Final = SplitSizes(least_bytes=50, most_bytes=50)
"""A few lines make several maps; an oracle has to cut alike."""

_KILLED: Final = -9
_LEAVES_OFF: Final = 0.1  # how often after an attempt of a stint, as after one that has left processes behind
_sources: dict[str, _FromText] = {}  # by digest of the bundle


@dataclass(frozen=True, slots=True)
class TaskPace:
    """How long a stop of a task lasts at most, in seconds, and how often it stops before a change."""

    pause_s: float
    stop_chance: float

    @classmethod
    def draw(cls, draws: Random, pause_s: float | None = None) -> TaskPace:
        drawn_s, stop_chance = draws.choice((0.002, 0.05, 0.3)), draws.choice((0.1, 0.4, 1.0))
        return cls(drawn_s if pause_s is None else pause_s, stop_chance)


class TaskSpawner(InlineSpawner):
    """One run of one node.  `kill_all` when that run ends.  Flushes and merges are drawn from `inline`."""

    def __init__(
        self,
        inline: Random,
        draws: Random,
        *,
        owner: str,
        loop: VirtualLoop,
        files: FileSystem,
        trace: Trace,
        pace: TaskPace,
    ) -> None:
        super().__init__(inline)
        self._owner = owner
        self._loop = loop
        self.files = files
        self.trace = trace
        self.task_draws = draws
        self.pace_s = pace.pause_s
        self.slow_s = 0.0  # by which each stop of an attempt is longer, on a slow node
        self.stop_chance = pace.stop_chance
        self._tasks: list[SimulatedTask] = []

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess:
        await asyncio.sleep(self.task_draws.random() * self.pace_s)
        number = len(self._tasks) + 1
        task = SimulatedTask(self, self._loop.process(f"{self._owner}.task{number}"), number)
        self._tasks.append(task)
        self._loop.spawn(task.process, task.live())
        return task

    def running(self) -> list[SimulatedTask]:
        return [task for task in self._tasks if not task.ended.done()]

    def kill_all(self) -> None:
        for task in self.running():
            task.kill()

    def end(self, task: SimulatedTask) -> None:
        self._loop.kill(task.process)


class SimulatedTask:
    """A TaskProcess (ringmill.cluster.ports)."""

    def __init__(self, spawner: TaskSpawner, process: Process, number: int) -> None:
        self.process = process
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.work: RunAttempt | JobStep | None = None  # what it is at
        self._spawner = spawner
        self._number = number
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._printed = b""  # nothing but marks
        self._stepped: Stepped[Said] | None = None
        self._progress = Progress()
        self._loaded: dict[tuple[str, str], JobDefinition] = {}  # by path of the bundle and name of the job

    @property
    def is_reducing(self) -> bool:
        return isinstance(self.work, RunAttempt) and self.work.stage == "reduce"

    @property
    def pid(self) -> int:
        return self._number

    @property
    def is_alive(self) -> bool:
        return not self.ended.done()

    @property
    def peak_bytes(self) -> int:
        return 0

    @property
    def breach(self) -> str:
        return ""

    @property
    def mark(self) -> bytes:
        return b"mark"

    async def send(self, message: bytes) -> None:
        if self.ended.done():
            raise BrokenPipeError(f"{self.process.name} has ended")
        self._inbox.put_nowait(message)

    async def receive(self) -> bytes:
        said = await self._outbox.get()
        if said is None:
            self._outbox.put_nowait(None)
            raise EOFError(f"{self.process.name} has ended")
        return said

    def output(self) -> bytes:
        return self._printed

    async def finish_work(self) -> bytes:
        printed, self._printed = self._printed, b""
        return printed

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    def kill(self) -> None:
        if not self.ended.done():
            self._end(_KILLED)

    async def live(self) -> None:
        """Answer one request after the other until one fails."""
        while True:
            request = decode_request(await self._inbox.get())
            if isinstance(request, LeaveOff):  # of a stint that was over
                continue
            works = request.runs if isinstance(request, RunStint) else (request,)
            for number, self.work in enumerate(works):
                said = await self._work(self.work.encode())
                if isinstance(request, RunStint) and said.kind == "done":
                    self._printed += self.mark
                self._say(said)
                if said.kind != "done":
                    self._end(0)
                    return
                is_last = number + 1 == len(works)
                if not is_last and (
                    self._spawner.task_draws.random() < _LEAVES_OFF or not self._inbox.empty()
                ):
                    self._say(Said("rest", None))
                    break
            self.work = None

    async def _work(self, message: bytes) -> Said:
        spawner, said = self._spawner, AttemptProgress()
        self._progress = Progress()
        self._stepped = Stepped(lambda stop: self._answer(message, stop))
        while not self._stepped.resume():
            now = self._progress.now()
            if now != said:
                self._say(Said("progress", now.to_wire()))
                said = now
            slow_s = spawner.slow_s if isinstance(self.work, RunAttempt) else 0.0
            await asyncio.sleep((spawner.pace_s + slow_s) * spawner.task_draws.random())
        return self._stepped.result()

    def _answer(self, message: bytes, stop: Callable[[], None]) -> Said:
        spawner, stepped = self._spawner, self._stepped

        def before(path: str) -> None:
            if stepped is None or stepped.is_dropped or spawner.task_draws.random() < spawner.stop_chance:
                stop()

        files = Door(lambda path: spawner.files, before)
        [said] = answers(
            message,
            lambda run: self._run(run, files),
            lambda step: self._chore(step, files, stop),
            lambda stint: True,
        )
        return said

    def _run(self, run: RunAttempt, files: FileSystem) -> tuple[MapOutput | ReduceOutput, AttemptFigures]:
        """As ringmill.node.task_main does it: whatever happens is a TaskFailed."""
        try:
            return run_attempt(run, files, lambda *job: self._job(files, *job), self._progress)
        except TaskFailed:
            raise
        except RingmillError as error:
            raise TaskFailed(Cause.BAD_BUNDLE, str(error)) from error
        except Exception as error:
            raise classify(error, ()) from error

    def _chore(self, step: JobStep, files: FileSystem, stop: Callable[[], None]) -> list[Any]:
        stop()
        return do_job_step(step, files, lambda *job: self._job(files, *job), SMALL_SPLITS)

    def _job(self, files: FileSystem, bundle: str, module: str, name: str) -> JobDefinition:
        if (bundle, name) not in self._loaded:
            self._loaded[bundle, name] = _load(files, self.process.name, bundle, module, name)
        return self._loaded[bundle, name]

    def _say(self, said: Said) -> None:
        message = said.encode()
        self._spawner.trace.note(self.process.name, f"says {said.kind}", message)
        self._outbox.put_nowait(message)

    def _end(self, code: int) -> None:
        self._spawner.trace.note(self.process.name, f"ends with {code}")
        self.ended.set_result(code)
        self._outbox.put_nowait(None)
        self._spawner.end(self)
        if self._stepped is not None:
            with suppress(Dropped):
                self._stepped.drop()


def _load(files: FileSystem, process: str, bundle: str, module: str, name: str) -> JobDefinition:
    """The job object of a bundle, checked and imported from its bytes.  Raises TaskFailed, RingmillError.

    Each process has its own copy of the module, and the name `process` in it, as a real one has a pid.
    """
    try:
        data = files.read_bytes(bundle)
    except FileNotFoundError as error:
        raise TaskFailed(Cause.BAD_BUNDLE, f"no bundle at {bundle}") from error
    digest = bundle.rpartition("/")[2].removesuffix(".zip")
    check_bundle(data, digest)
    if digest not in _sources:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _sources[digest] = _FromText(archive.read(f"{module}.py").decode(), f"{bundle}/{module}.py")
    loader = _sources[digest]
    spec = importlib.util.spec_from_loader(module, loader)
    assert spec is not None
    made = sys.modules[module] = importlib.util.module_from_spec(spec)
    loader.exec_module(made)
    made.__dict__["process"] = process
    name, _, link = name.partition(".")
    found: JobDefinition | JobChain = getattr(made, name)
    return found if isinstance(found, JobDefinition) else found.links[int(link)].step


class _FromText(importlib.abc.InspectLoader):
    """Compiled once, run for each process."""

    def __init__(self, source: str, path: str) -> None:
        self._source = source
        self._code = self.source_to_code(source, path)

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def _keeps_the_contract(task: SimulatedTask) -> TaskProcess:
    """Checked by mypy alone: it is a task process."""
    return task
