"""`cluster chaos` refuses what it cannot do before anything is disturbed, and signals no foreign process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.local.local_cluster import node_state
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from ringmill.client.local.processes import start_mark


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RINGMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ringmill"


def recorded(home: Path, pid: int, mark: str) -> LocalNode:
    """The node of a local cluster of one, as its record has it."""
    home.mkdir(mode=0o700)
    (home / "default").mkdir(mode=0o700)
    node = LocalNode("n1", "127.0.0.1:1", "", pid, mark)
    save_cluster(LocalCluster("default", str(home / "default"), 1, 16, (node,)))
    return node


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--for 2h", "--for 2h is not between 0.5 s and 3600 s"),
        ("--for soon", "--for: 'soon' is not a time span"),
        ("--for 2s --every 3s", "--every 3s is not between 0.5 s and 2 s"),
        ("--faults kill,bite", "--faults: 'bite' is not one of kill, pause, restart"),
        ("--at-once 0", "--at-once"),
        ("--at-once 2", "--at-once is 2, but cluster default has 1 nodes"),
        ("--seed -1", "--seed"),
        ("--endpoints 127.0.0.1:1", "--endpoints names 127.0.0.1:1"),
        ("--at 127.0.0.1:1", "No such option '--at'"),
    ],
)
def test_bad_usage_is_reported_by_its_flag(
    line: str, named: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(home, os.getpid(), start_mark(os.getpid()))
    assert main(["cluster", "chaos", *line.split()]) == ExitCode.USAGE
    assert named in capsys.readouterr().err


def test_without_a_local_cluster_there_is_nothing_to_disturb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "chaos"]) == ExitCode.NOT_FOUND
    assert "there is no local cluster 'default'" in capsys.readouterr().err


def test_a_process_that_got_the_pid_of_a_node_is_not_a_node(
    home: Path, stranger: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    node = recorded(home, stranger.pid, "another boot/1")
    assert main(["cluster", "chaos", "--for", "1s", "--every", "1s"]) == ExitCode.UNREACHABLE
    told = capsys.readouterr().err
    assert "not all nodes of cluster default run: n1 is stopped" in told and "cluster up" in told
    assert node_state(node) == "stopped" and stranger.poll() is None
