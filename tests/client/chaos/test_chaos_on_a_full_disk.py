"""A disk that is full is a trouble of the run: its verdict is told, and all is put back."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest

from ringmill.client.chaos import chaos_run, disturber
from ringmill.client.chaos.chaos_run import ChaosOptions, ChaosRun
from ringmill.client.chaos.fault_schedule import FaultStep
from ringmill.client.cli.chaos import cluster_chaos
from ringmill.client.cli.chaos.chaos_view import ChaosLine
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from tests.client.chaos.lying_cluster import loaded

FULL = OSError(errno.ENOSPC, "No space left on device")


def a_run() -> ChaosRun:
    options = ChaosOptions(9, "t", ("kill",), 1, 1.0, 5.0)
    return ChaosRun("/nowhere", ["n1"], options, ChaosLine(5.0), 1)


def test_the_verdict_is_reported_though_the_history_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "home" / "default"
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700)
    monkeypatch.setenv("RINGMILL_HOME", str(folder.parent))
    save_cluster(LocalCluster("default", str(folder), 1, 16, (LocalNode("n1", "127.0.0.1:1", ""),)))

    async def carried_out(_: Any, __: Any, run: ChaosRun) -> bool:
        run._load = await loaded("registers")
        return False

    with (
        patch.object(local_cluster, "node_state", lambda _: "running"),
        patch.object(cluster_chaos, "_carry_out", carried_out),
        patch.object(cluster_chaos, "open_private", side_effect=FULL),
    ):
        assert main(["-o", "json", "cluster", "chaos", "--for", "5s"]) == ExitCode.FAILED
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert (told["verdict"], told["witness"]) == ("broken", None)
    assert "could not be written" in shown.err and "No space left" in shown.err


async def test_a_step_that_meets_a_full_disk_ends_the_schedule_and_not_the_run() -> None:
    run = a_run()
    with (
        patch.object(chaos_run, "apply_step", AsyncMock(side_effect=FULL)),
        patch.object(chaos_run, "put_back", AsyncMock(side_effect=FULL)),
    ):
        assert not await run._carry_out(FaultStep(1.0, "kill", ("n1",), 1.0))
        run._load = await loaded()
        await run._rest(AsyncMock())
    recovery = run.verdicts()[-1]
    assert len(recovery.breaches) == 2 and all("No space left" in each for each in recovery.breaches)


async def test_keyspaces_are_dropped_though_nodes_cannot_be_put_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keyspaces = SimpleNamespace(drop=AsyncMock())
    with patch.object(disturber, "put_back", AsyncMock(side_effect=FULL)):
        await cluster_chaos._tidy_up(SimpleNamespace(keyspaces=keyspaces), a_run())  # type: ignore[arg-type]
    assert keyspaces.drop.await_count == 3
    assert "not all nodes serve again" in capsys.readouterr().err
