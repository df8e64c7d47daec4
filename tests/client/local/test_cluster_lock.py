"""One command at a time changes a local cluster, also while another one deletes it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode, load_cluster, save_cluster

NODE = LocalNode("n1", "127.0.0.1:7101", "")


def test_who_waited_for_a_cluster_that_is_purged_holds_the_lock_that_others_find(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    cluster = LocalCluster("c", str(tmp_path / "c"), 1, 16, (NODE,))
    has_entered, may_go = threading.Event(), threading.Event()
    told: list[object] = []

    def wait_for_it() -> None:
        with local_cluster.exclusively(cluster.folder):
            told.append(load_cluster(cluster.folder))
            has_entered.set()
            may_go.wait(20)

    def come_later() -> None:
        with local_cluster.exclusively(cluster.folder):
            told.append("later")

    waiting, later = threading.Thread(target=wait_for_it), threading.Thread(target=come_later)
    with local_cluster.exclusively(cluster.folder):
        save_cluster(cluster)
        (Path(cluster.folder) / "n1").mkdir()
        waiting.start()
        while not _waiters(cluster.folder):
            assert waiting.is_alive()
        local_cluster.purge(cluster)
        assert not os.path.exists(cluster.folder)
    assert has_entered.wait(20)
    later.start()
    later.join(0.5)
    assert told == [None], "two commands held the lock of one cluster"
    may_go.set()
    later.join(20)
    waiting.join(20)
    assert told == [None, "later"]


def _waiters(folder: str) -> bool:
    """Whether this process has its lock file open twice: by who holds it and by who waits."""
    path = os.path.join(folder, ".lock")
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.path.samestat(os.fstat(int(descriptor)), os.stat(path))
        except OSError:
            continue
    return found > 1


@pytest.mark.parametrize(
    "line",
    ["cluster stop n1", "cluster restart n1", "cluster restart --rolling", "auth rotate-secret"],
)
def test_a_cluster_that_there_is_not_leaves_no_folder(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path / "home"))
    assert main(["--cluster", "typo", *line.split()])
    assert "no local cluster 'typo'" in capsys.readouterr().err
    assert not (tmp_path / "home").exists() and not (tmp_path / ".ringmill").exists()
