"""Three nodes in one process, each a worker with real task processes and a coordinator."""

import asyncio
import importlib.util
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from ringmill import run_local
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import DiskId, NodeId
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport, decode_reports
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.worker import Worker
from ringmill.node.contracts import LivenessView, TopologyView
from ringmill.node.jobs.job_coordinator import JobCoordinator
from ringmill.node.jobs.views import JobView
from ringmill.node.node_options import CoordinatorOptions, WorkerOptions
from tests.node.held_keyspaces import HeldKeyspaces
from tests.node.jobs.registers import Registers

TRIALS = Path(__file__).parents[1] / "compute" / "trials.py"
NODES = tuple(map(NodeId, ("n1", "n2", "n3")))
MEMBERS = [Member(node, DiskId(f"{at:032x}"), f"127.0.0.1:{7100 + at}") for at, node in enumerate(NODES, 1)]


class OneNode:
    def __init__(self, cluster: "JobCluster", name: NodeId) -> None:
        self.name = name
        self.cluster = cluster
        self.folder = cluster.folder / name
        self.end = cluster.wire.end(name)
        self.processes = TaskProcesses() if cluster.shared is None else cluster.shared
        self.bundles = BundleStore(
            f"{self.folder}/bundles", files=cluster.files, transport=self.end, clock=cluster.clock
        )
        self.registers = Registers(cluster.held, lambda: name in cluster.wire.cut)
        self.coordinator = self.new_coordinator()

    def new_coordinator(self, **options: Any) -> JobCoordinator:
        """It answers from now on; the former one hears nothing any more."""
        cluster = self.cluster
        coordinator = JobCoordinator(
            self.name, topology=cluster.topology, liveness=cluster.liveness, registers=self.registers,
            bundles=self.bundles, clock=cluster.clock, wall=cluster.wall, entropy=OsEntropy(),
            files=cluster.files, spawner=self.processes, transport=self.end,
            options=CoordinatorOptions(lease_s=cluster.lease_s), keyspaces=cluster.keyspaces, **options,
        )  # fmt: skip
        for method, handler in coordinator.handlers().items():
            self.end.serve(method, handler)
        return coordinator

    def new_worker(self, start: str, **options: Any) -> Worker:
        """A run of this node's worker; what the former one knew is gone."""
        cluster = self.cluster
        self.worker = Worker(
            self.name, start=start, folder=f"{self.folder}/scratch", slots=1, bundles=self.bundles,
            clock=cluster.clock, files=cluster.files, spawner=self.processes, transport=self.end,
            options=WorkerOptions(progress_every_s=0.1, **options), keyspaces=cluster.keyspaces,
        )  # fmt: skip
        for method, handler in self.worker.handlers().items():
            self.end.serve(method, handler)
        return self.worker

    def task_pids(self) -> list[int]:
        pid = self.processes.forkserver_pid
        if pid is None:
            return []
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def scratch(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "scratch").iterdir())


class JobCluster:
    def __init__(self, wire: Any, folder: Path, lease_s: float, *, has_own_forkservers: bool) -> None:
        self.wire = wire
        self.shared = None if has_own_forkservers else TaskProcesses()
        self.lease_s = lease_s
        self.folder = folder
        self.down: set[NodeId] = set()
        self.held: dict[bytes, tuple[int, bytes | None]] = {}
        formed = SimpleNamespace(
            current=first_topology("jobs", MEMBERS), wait_formed=lambda: asyncio.sleep(0)
        )
        self.topology = cast("TopologyView", formed)
        self.liveness = cast(
            "LivenessView",
            SimpleNamespace(is_up=lambda node: node not in self.down, on_change=lambda listener: None),
        )
        self.clock = SystemClock()
        self.wall = self.clock.wall
        self.files = OsFileSystem()
        self.keyspaces = HeldKeyspaces(index="siblings", counts="counter")
        self.nodes = {name: OneNode(self, name) for name in NODES}
        self.reports: list[AttemptReport] = []
        self.on_report: Callable[[AttemptReport], None] = lambda report: None
        wire.answered = self._answered
        code = build_bundle("trials", {"trials.py": TRIALS.read_bytes()}.get)
        self.code, self.bundle = code.data, code.sha256

    async def start(self, stack: AsyncExitStack) -> None:
        for node in self.nodes.values():
            await stack.enter_async_context(node.coordinator)
            await stack.enter_async_context(node.new_worker("1"))
        await self.nodes[NODES[0]].bundles.put(self.bundle, self._code())

    async def _code(self) -> AsyncIterator[bytes]:
        yield self.code

    def _answered(self, sender: NodeId, to: NodeId, method: str, body: bytes) -> None:
        if method == "task.report":
            for report in decode_reports(body):
                if report.has_ended:
                    self.reports.append(report)
                    self.on_report(report)

    def spec(
        self, job: str = "job-1", mode: str = "", *, out: str = "out", overwrite: bool = False
    ) -> JobSpec:
        return JobSpec(
            job=job, module="trials", name="counting", bundle_sha256=self.bundle,
            inputs=(f"{self.folder}/in",), output=f"{self.folder}/{out}", input_format="lines",
            output_format="tsv", reducers=3, overwrite=overwrite, split_bytes=512 << 10,
            params={"mode": mode, "flag": f"{self.folder}/flag"},
        )  # fmt: skip

    async def submit(self, spec: JobSpec, by: str = "n1") -> NodeId:
        return await self.nodes[NodeId(by)].coordinator.submit(spec.job, spec.encode())

    async def finish(self, job: str = "job-1", at: str = "n1") -> JobView:
        """Wait for the job's end and for the end of everything it left behind."""
        coordinator = self.nodes[NodeId(at)].coordinator
        async with asyncio.timeout(60):
            async for view in coordinator.watch(job):
                last = view
            while coordinator._tenure is not None and coordinator._tenure.open_jobs:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return last

    async def run(self, spec: JobSpec) -> JobView:
        await self.submit(spec)
        return await self.finish(spec.job)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.01)

    def parts(self, out: str = "out") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / out).iterdir()}

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name.startswith("."))

    def write_input(self, *texts: str) -> None:
        (self.folder / "in").mkdir(exist_ok=True)
        for number, text in enumerate(texts):
            (self.folder / "in" / f"{number}.txt").write_text(text)

    def write_much(self) -> None:
        """Four files above the size of a split each: at least four maps."""
        draw = random.Random(7)
        words = [f"word{n}" for n in range(2000)]
        texts = ["".join(" ".join(draw.choices(words, k=8)) + "\n" for _ in range(9000)) for _ in range(4)]
        self.write_input(*texts)

    def expected(self) -> dict[str, bytes]:
        """The same job run in this process."""
        definition = loaded_trials().counting
        here, params = self.folder, {"mode": "", "flag": ""}
        run_local(definition, f"{here}/in", f"{here}/local", reducers=3, params=params, overwrite=True)
        return self.parts("local")


def loaded_trials() -> ModuleType:
    if "trials" not in sys.modules:
        found = importlib.util.spec_from_file_location("trials", TRIALS)
        assert found is not None
        assert found.loader is not None
        module = sys.modules["trials"] = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    return sys.modules["trials"]


@pytest.fixture
async def cluster(wire: Any, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[JobCluster]:
    """A forkserver takes longer to start than most jobs here: nodes share one where it does not matter."""
    lease_s = getattr(request.module, "LEASE_S", 6.0)
    owns = getattr(request.module, "HAS_OWN_FORKSERVERS", False)
    made = JobCluster(wire, tmp_path, lease_s, has_own_forkservers=owns)
    async with AsyncExitStack() as stack:
        await made.start(stack)
        yield made
    for processes in {node.processes for node in made.nodes.values()}:
        await processes.close()
    made.files.close()
