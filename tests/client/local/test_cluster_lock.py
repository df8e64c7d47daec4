"""One command at a time changes a local cluster, also while another one deletes it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_state import LocalCluster, LocalNode, load_cluster, save_cluster
from ringmill.client.local.tcp_ports import free_base

NODE = LocalNode("n1", "127.0.0.1:7101", "")


def test_whoever_waited_for_a_cluster_that_is_purged_holds_the_lock_that_others_find(tmp_path: Path) -> None:
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


def test_a_purge_that_is_interrupted_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    folder = tmp_path / "default"
    save_cluster(LocalCluster("default", str(folder), 1, 16, (NODE,)))
    (folder / "n1").mkdir()
    (folder / "n1" / "IDENTITY").write_text("of its disk")
    monkeypatch.setattr(local_cluster, "remove_tree", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr(os, "listdir", lambda path, listdir=os.listdir: sorted(listdir(path)))
    assert main(["cluster", "down", "--purge"]) == 130
    assert load_cluster(str(folder)) is not None and (folder / "n1").exists()
    monkeypatch.setattr(local_cluster, "remove_tree", shutil.rmtree)
    assert main(["cluster", "down", "--purge"]) == 0
    assert not folder.exists()


def test_a_new_cluster_does_not_take_the_data_of_a_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    (tmp_path / "default" / "n2").mkdir(parents=True)
    (tmp_path / "default" / "n2" / "IDENTITY").write_text("of its disk")
    monkeypatch.setattr(processes, "spawn", Mock(side_effect=RuntimeError("it begins")))
    base = str(free_base(3, 14_000 + os.getpid() % 1000 * 5))
    assert main(["cluster", "up", "-n", "3", "--base-port", base]) == 2
    assert "holds data of n2, and no cluster.json" in capsys.readouterr().err
    assert os.listdir(tmp_path / "default") == ["n2"]


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
def test_a_cluster_that_does_not_exist_leaves_no_folder(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path / "home"))
    assert main(["--cluster", "typo", *line.split()])
    assert "no local cluster 'typo'" in capsys.readouterr().err
    assert not (tmp_path / "home").exists() and not (tmp_path / ".ringmill").exists()
