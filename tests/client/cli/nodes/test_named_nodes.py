"""Verbs on named nodes of a local cluster: what they refuse, and what they say of what was done before that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from ringmill.client.testing.scratch_cluster import ScratchCluster
from ringmill.cluster.errors import InvalidArgument

NODES = tuple(LocalNode(f"n{number}", f"127.0.0.1:{number}", "") for number in (1, 2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """That of a cluster whose nodes are stopped."""
    home = tmp_path / "home"
    save_cluster(LocalCluster("default", str(home / "default"), 1, 16, NODES))
    with chdir(tmp_path), patch.dict(os.environ, {"RINGMILL_HOME": str(home), "HOME": str(tmp_path)}):
        yield home / "default"


@pytest.mark.parametrize("verb", ["restart", "restart --rolling", "stop", "kill", "pause", "resume", "logs"])
def test_a_node_that_is_named_twice_is_refused_and_no_process_begins(
    folder: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    with patch.object(processes, "spawn") as spawn, patch.object(local_cluster, "stop_nodes") as stop:
        assert main(["cluster", *verb.split(), "n1", "n1"]) == 2
    assert "a node is named twice: n1 n1" in capsys.readouterr().err
    spawn.assert_not_called()
    stop.assert_not_called()


def test_a_scratch_cluster_refuses_a_node_that_is_named_twice(folder: Path) -> None:
    scratch = ScratchCluster()
    scratch._cluster = LocalCluster("default", str(folder), 1, 16, NODES)
    with pytest.raises(InvalidArgument, match="named twice"):
        scratch.restart("n1", "n1")
