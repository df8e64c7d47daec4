"""Data folders that are not what they seem, on real processes: put back, or copied and started twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmill.client.local.processes import our_environment
from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell

NEWS_S = 2.0  # in which members hear how far a log is
ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("folders"))
    start = 24000 + os.getpid() % 500 * 12
    place = ("--base-port", str(free_base(3, start)))
    shell.ok("cluster", "up", "-n", "3", "--partitions", "32", *place)
    yield shell
    shell.ok("cluster", "down")


def folder_of(shell: Shell, node: str) -> Path:
    return shell.folder / "home" / "default" / node


def put_many(shell: Shell, prefix: str) -> dict[str, bytes]:
    written = {f"{prefix}:{number}": b"%s %d\n" % (prefix.encode(), number) for number in range(6)}
    for key, value in written.items():
        shell.ok("put", key, value.decode().strip())
    return written


@pytest.mark.parametrize("node", ["n1"])
@pytest.mark.parametrize("is_live", [False, True])
def test_an_older_copy_of_a_folder_is_refused_in_one_line_and_nothing_is_lost(
    three: Shell, node: str, is_live: bool, tmp_path: Path
) -> None:
    put_many(three, f"before-{is_live}")
    folder, kept, true = folder_of(three, node), tmp_path / "kept", tmp_path / "true"
    if is_live:
        shutil.copytree(folder, kept)
    else:
        three.ok("cluster", "kill", node)
        shutil.copytree(folder, kept)
        three.ok("cluster", "restart", node)
    three.until_healthy()
    written = put_many(three, f"after-{is_live}")
    time.sleep(NEWS_S)
    three.ok("cluster", "kill", node)
    folder.rename(true)
    kept.rename(folder)

    for _ in range(1 if is_live else 2):  # trying again does not help it
        refused = three.run("cluster", "restart", node)
        assert refused.code == 1, refused
        assert f"{folder} is an old copy of {node}'s data" in refused.err, refused.err
        assert f"ringmill node reset {folder}" in refused.err
        assert "Traceback" not in refused.err
    for key, value in written.items():
        assert three.ok("get", key).out == value

    reset = three.command("node", "reset", str(folder), "--yes")
    assert reset.code == 0 and f"{folder}.before-reset-" in reset.out.decode()
    shutil.rmtree(folder)
    true.rename(folder)
    three.ok("cluster", "restart", node)
    three.until_healthy()
    for key, value in written.items():
        assert three.ok("get", key, "-r", "all").out == value


def test_a_copy_started_beside_the_folder_in_use_is_refused(three: Shell, tmp_path: Path) -> None:
    written = put_many(three, "copied")
    kept = tmp_path / "n2"
    shutil.copytree(folder_of(three, "n2"), kept)
    port = free_base(1, 23000 + os.getpid() % 500)
    token = three.folder / "home" / "default" / "token"
    place = ["--listen", f"127.0.0.1:{port}", "--data", str(kept), "--token-file", str(token)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ringmill.node", "--id", "n2", *place],
        env=our_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "n2 runs already on this data" in last or "is an old copy of n2's data" in last
    assert "Traceback" not in done.stderr
    three.until_healthy()
    for key, value in written.items():
        assert three.ok("get", key, "-r", "all").out == value


def test_a_store_that_is_not_the_one_its_node_left_does_not_pass_for_an_empty_one(
    three: Shell, tmp_path: Path
) -> None:
    written = put_many(three, "store")
    store, kept = folder_of(three, "n3") / "store", tmp_path / "store"
    pids = [one["pid"] for one in three.ok("cluster", "status", "-o", "json").json["nodes"]]
    three.ok("cluster", "down")
    assert not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids)
    store.rename(kept)
    another = tmp_path / "another"
    shutil.copytree(folder_of(three, "n2") / "store", another)  # while n2 is down
    three.ok("cluster", "restart", "n1", "n2")
    for why in ("the file STORE is missing", "the file STORE is missing", "it belongs to disk"):
        if why == "it belongs to disk":
            shutil.rmtree(store, ignore_errors=True)
            another.rename(store)
        up = three.run("cluster", "up")
        assert up.code != 0
        assert f"{store} is not the store that n3 left" in up.err, up.err
        assert why in up.err
    shutil.rmtree(store, ignore_errors=True)
    kept.rename(store)
    three.ok("cluster", "up")
    three.until_healthy()
    for key, value in written.items():  # all of it was kept while they were down
        assert three.ok("get", key, "-r", "all").out == value
