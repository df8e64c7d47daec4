"""A scratch cluster is real processes, takes kills and pauses, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from unittest.mock import Mock, patch

import psutil
import pytest

from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode, load_cluster, save_cluster
from ringmill.client.local.processes import our_environment, wait_gone
from ringmill.client.testing import scratch_cluster
from ringmill.client.testing.scratch_cluster import ScratchCluster
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, NotFound, RingmillError

HELD = """
import sys, time
from ringmill.client.testing.scratch_cluster import ScratchCluster
with ScratchCluster(nodes=1, folder=sys.argv[1]) as cluster:
    print("up", flush=True)
    time.sleep(120)
"""


def test_nodes_are_killed_paused_and_started_again() -> None:
    with ScratchCluster() as cluster, cluster.client() as db:
        assert cluster.nodes == ("n1", "n2", "n3") and len(cluster.endpoints) == 3
        pids = {node.pid for node in cluster.records}
        db.put("k", b"v", w=3)
        cluster.kill("n2")
        assert cluster.state("n2") == "stopped"
        assert db.get("k", r=2).value == b"v"
        cluster.pause("n3")
        assert cluster.state("n3") == "paused"
        with pytest.raises(RingmillError):
            db.get("k", r=2, timeout=0.5)
        cluster.resume("n3")
        cluster.restart("n2")
        cluster.wait_healthy(timedelta(seconds=20))
        assert db.get("k", r=3).value == b"v"
        with pytest.raises(NotFound, match="n9"):
            cluster.kill("n9")
        pids |= {node.pid for node in cluster.records}
        home = os.path.dirname(cluster.folder)
    assert not any(psutil.pid_exists(pid) and "ringmill" in " ".join(_line(pid)) for pid in pids)
    assert not os.path.exists(home)
    with pytest.raises(RingmillError, match="not running"):
        _ = cluster.endpoints


def test_settings_that_contradict_each_other_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="--replicas is 5"), ScratchCluster(replicas=5):
        raise AssertionError("it was entered")


def test_a_folder_that_another_process_used_has_ports_of_its_own(tmp_path: Path) -> None:
    node = LocalNode("n1", "127.0.0.1:13001", "")
    save_cluster(LocalCluster("scratch", str(tmp_path / "scratch"), 1, 16, (node,)))
    with (
        patch.object(local_cluster, "start_nodes", side_effect=RingmillError("it goes on")),
        pytest.raises(RingmillError, match="it goes on"),
        ScratchCluster(nodes=1, folder=str(tmp_path)),
    ):
        raise AssertionError("it was entered")


def test_nodes_end_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-P", "-c", HELD, str(tmp_path)], stdout=subprocess.PIPE, env=our_environment()
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"up\n"
    cluster = load_cluster(str(tmp_path / "scratch"))
    assert cluster is not None
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert all(wait_gone(node.pid, node.started, 20) for node in cluster.nodes)


FORKED = """
import os, signal, sys, time
from ringmill.client.testing.scratch_guard import ScratchGuard
guard = ScratchGuard(sys.argv[1])
if not (worker := os.fork()):
    time.sleep(30)
if sys.argv[2] == "dismissed":
    guard.dismiss()
else:
    guard._child.stdin.close()
    guard._child.wait(10)
os.kill(worker, signal.SIGKILL)
print("ended")
"""


@pytest.mark.parametrize("how", ["dismissed", "closed"])
def test_a_forked_process_that_lives_on_holds_up_nobody(how: str, tmp_path: Path) -> None:
    """Neither the end of a test, nor that of nodes whose tests were killed, which closes the pipe."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", FORKED, str(tmp_path), how],
        stdout=subprocess.PIPE, env=our_environment(), timeout=20, check=False,
    )  # fmt: skip
    assert run.stdout == b"ended\n"


def _line(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_how_long_it_waited_is_reported_whatever_kind_of_time_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def amiss(_: ScratchCluster) -> str:
        return "n1 is down"

    monkeypatch.setattr(ScratchCluster, "_amiss", amiss)
    with pytest.raises(DeadlineExceeded, match=r"not healthy after 0\.05 s: n1 is down"):
        ScratchCluster().wait_healthy(timedelta(milliseconds=50))


async def test_it_is_of_use_where_an_event_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook, and in an async test, which opens async clients of it."""
    cluster = ScratchCluster(nodes=1)
    seen: list[str] = []

    async def start(state: object, *_: object) -> object:
        seen.append("started")
        return state

    async def amiss(_: ScratchCluster) -> str:
        return "" if len(seen) > 2 else "n1 is down"

    def bring(*_: object, **__: object) -> tuple[Mock, None]:
        asyncio.run(start(None))
        return Mock(nodes=[]), None

    monkeypatch.setattr(scratch_cluster, "bring_up", bring)
    monkeypatch.setattr(scratch_cluster, "start_again", start)
    monkeypatch.setattr(local_cluster, "stop_nodes", lambda _: seen.append("stopped"))
    monkeypatch.setattr(ScratchCluster, "_amiss", amiss)
    with cluster:
        cluster.restart("n1")
        cluster.wait_healthy()
    assert seen == ["started", "stopped", "started"]
