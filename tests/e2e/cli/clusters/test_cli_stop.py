"""`cluster down` ends a node in order, whatever its tasks are at."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell

SLEEPS = """
import time
from collections.abc import Iterator
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    time.sleep(60)
    yield line, 1

mine = job(map=words)
"""


@pytest.mark.parametrize("is_stopped", [False, True], ids=["a running task", "a stopped forkserver"])
def test_a_node_with_a_task_under_way_is_not_killed(tmp_path: Path, is_stopped: bool) -> None:
    shell = Shell(tmp_path)
    base = free_base(1, 26000 + os.getpid() % 1000 * 3)
    up = shell.ok("cluster", "up", "-n", "1", "--base-port", str(base), "-o", "json").json
    tasks = list[psutil.Process]()
    try:
        (tmp_path / "sleeps.py").write_text(SLEEPS)
        (tmp_path / "text").write_text("a line\n")
        shell.ok("job", "run", "sleeps.py:mine", "--input", "text", "--output", "out", "--detach")
        node = psutil.Process(up["nodes"][0]["pid"])
        deadline = time.monotonic() + 60
        while not (tasks := [one for one in node.children(recursive=True) if _is_forkserver(one)]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if is_stopped:
            tasks[0].send_signal(signal.SIGSTOP)
    finally:
        down = shell.ok("cluster", "down", "-o", "json").json
    _, left = psutil.wait_procs(tasks, timeout=0 if is_stopped else 30)
    for process in left:
        process.kill()  # one that is stopped does not see that its node has gone
    assert down["nodes"] == {"n1": "stopped"}
    assert is_stopped or not left


def _is_forkserver(process: psutil.Process) -> bool:
    return "--forkserver" in process.cmdline() and process.parent() is not None
