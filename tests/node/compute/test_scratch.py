"""A node starts whatever the former start has left in its scratch folder."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.scratch import put_aside
from ringmill.node.compute.worker import Worker
from ringmill.node.node_options import WorkerOptions
from tests.node.compute.worker_bench import LIMITS, ME, TIMEOUTS
from tests.node.held_keyspaces import HeldKeyspaces


class BadDisk(OsFileSystem):
    """Nothing can be removed from it."""

    tried: list[str]

    def remove_tree(self, path: str) -> None:
        self.tried.append(path)
        raise OSError(errno.EIO, "Input/output error", path)


async def test_what_cannot_be_removed_keeps_no_worker_from_starting(wire: Any, tmp_path: Path) -> None:
    (tmp_path / "scratch" / "j-1" / "map-0.1").mkdir(parents=True)
    files, processes = BadDisk(), TaskProcesses()
    files.tried = []
    end = wire.end(ME)
    bundles = BundleStore(str(tmp_path / "bundles"), files=files, transport=end, clock=SystemClock())
    async with Worker(
        ME, start="2", folder=str(tmp_path / "scratch"), slots=1, bundles=bundles, clock=SystemClock(),
        files=files, spawner=processes, transport=end,
        options=WorkerOptions(timeouts=TIMEOUTS, limits=LIMITS), keyspaces=HeldKeyspaces(),
    ):  # fmt: skip
        assert not (tmp_path / "scratch" / "j-1").exists(), "the same job may come again"
    assert files.tried == [str(tmp_path / "scratch" / ".left-2")]
    await processes.close()
    files.close()


def test_all_former_starts_are_put_aside_together(tmp_path: Path) -> None:
    files, scratch = OsFileSystem(), tmp_path / "scratch"
    (scratch / ".left-1" / "j-1").mkdir(parents=True)
    (scratch / "j-2").mkdir()
    assert put_aside(files, str(scratch), "2") == f"{scratch}/.left-2"
    assert [each.name for each in scratch.iterdir()] == [".left-2"]
    assert sorted(each.name for each in (scratch / ".left-2").iterdir()) == [".left-1", "j-2"]
    files.close()
