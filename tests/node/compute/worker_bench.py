"""A worker with real task processes, and a coordinator that only writes down what it is told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.files.input_plan import plan_input
from ringmill.cluster.mapreduce.files.inputs import SourcePaths
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.worker_messages import (
    Assignment,
    AttemptReport,
    MapAssignment,
    decode_reports,
    encode_assignments,
)
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.compute.worker import Worker
from ringmill.node.node_options import TASK_LIMITS, AttemptTimeouts, WorkerOptions
from tests.node.held_keyspaces import HeldKeyspaces

TERM = 3
ME = NodeId("n1")
SOURCE = Path(__file__).with_name("trials.py").read_bytes()
TIMEOUTS = AttemptTimeouts(wall_s=60.0, no_progress_s=60.0)
LIMITS = {**TASK_LIMITS, "family_bytes": 600 << 20, "processes": 40}


@dataclass
class Bench:
    """One node: a worker, and a coordinator that only writes down what it is told."""

    end: Any
    folder: Path
    processes: TaskProcesses
    worker: Worker
    bundle: str
    reports: "asyncio.Queue[AttemptReport]" = field(default_factory=asyncio.Queue)
    progress: list[AttemptReport] = field(default_factory=list)
    refuse_reports: int = 0
    answer: bytes = b""  # to the next report
    classes: list[Priority] = field(default_factory=list)  # of the messages with reports
    refusal: RingmillError = field(default_factory=lambda: Overloaded("the coordinator stumbles"))

    def hear(self, incoming: Incoming) -> bytes:
        self.classes.append(incoming.priority)
        reports = decode_reports(incoming.body)
        if not reports[0].has_ended:
            self.progress += reports
        elif self.refuse_reports:
            self.refuse_reports -= 1
            raise self.refusal
        else:
            for report in reports:
                self.reports.put_nowait(report)
        answer, self.answer = self.answer, b""
        return answer

    def spec(self, mode: str, job: str = "j-1") -> JobSpec:
        return JobSpec(
            job=job, module="trials", name="counting", bundle_sha256=self.bundle,
            inputs=(str(self.folder / "input"),), output=str(self.folder / "out"), input_format="lines",
            output_format="tsv", reducers=2, params={"mode": mode, "flag": ""},
        )  # fmt: skip

    def map_assignment(self, text: str, mode: str = "", number: int = 1) -> MapAssignment:
        path = self.folder / "input"
        path.write_text(text)
        (split,) = plan_input([SourcePaths("", "lines", (str(path),))], OsFileSystem()).splits
        return MapAssignment(
            "j-1", AttemptId("map", 0, number), TERM, ME, self.spec(mode).encode(), 1, split.to_wire()
        )

    def another(self, **other: Any) -> Worker:
        usual: dict[str, Any] = {
            "start": "1", "folder": str(self.folder / "other"), "slots": 1,
            "bundles": self.worker._bundles, "clock": SystemClock(), "files": self.worker._files,
            "spawner": self.processes, "transport": self.end, "options": WorkerOptions(),
            "keyspaces": HeldKeyspaces(),
        }  # fmt: skip
        return Worker(ME, **{**usual, **other})

    async def change_code(self) -> None:
        """What is ordered from now on needs another process."""
        code = build_bundle("trials", {"trials.py": SOURCE + b"# changed\n"}.get)
        await self.worker._bundles.put(code.sha256, once(code.data))
        self.bundle = code.sha256

    def limit(self, **seconds: float) -> None:
        timeouts = replace(TIMEOUTS, **seconds)
        self.worker._options = replace(self.worker._options, timeouts=timeouts)

    async def ask(self, method: str, body: bytes) -> bytes:
        answer: bytes = await self.end.call(ME, method, body, timeout_s=5, priority=Priority.CONTROL)
        return answer

    async def run(self, assignment: Assignment) -> AttemptReport:
        await self.ask("task.start", encode_assignments([assignment]))
        async with asyncio.timeout(30):
            return await self.reports.get()

    async def fails(self, assignment: Assignment) -> TaskFailed:
        report = await self.run(assignment)
        assert report.kind == "failed", report.body
        return TaskFailed.from_wire(report.failure)


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data
