"""What the tests of a worker share."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.worker import Worker
from ringmill.node.node_options import WorkerOptions
from tests.node.compute.worker_bench import LIMITS, ME, SOURCE, TIMEOUTS, Bench, once
from tests.node.held_keyspaces import HeldKeyspaces


@pytest.fixture
async def bench(wire: Any, tmp_path: Path) -> AsyncIterator[Bench]:
    end, files, processes = wire.end(ME), OsFileSystem(), TaskProcesses()
    bundles = BundleStore(str(tmp_path / "bundles"), files=files, transport=end, clock=SystemClock())
    code = build_bundle("trials", {"trials.py": SOURCE}.get)
    await bundles.put(code.sha256, once(code.data))
    worker = Worker(
        ME, start="1", folder=str(tmp_path / "scratch"), slots=1, bundles=bundles, clock=SystemClock(),
        files=files, spawner=processes, transport=end,
        options=WorkerOptions(timeouts=TIMEOUTS, limits=LIMITS), keyspaces=HeldKeyspaces(),
    )  # fmt: skip
    made = Bench(end, tmp_path, processes, worker, code.sha256)
    for method, handler in {**worker.handlers(), "task.report": made.hear}.items():
        end.serve(method, handler)
    async with worker:
        yield made
    await processes.close()
    files.close()
