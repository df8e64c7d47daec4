"""Verbs on named nodes of a local cluster: what they refuse, and what they say was done."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ringmill.client.cli.cluster import cluster_logs, cluster_nodes
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster, processes, tcp_ports
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from ringmill.client.local.tcp_ports import PortTaken
from ringmill.client.testing.scratch_cluster import ScratchCluster
from ringmill.cluster.errors import InvalidArgument, NotFound

NODES = tuple(LocalNode(f"n{number}", f"127.0.0.1:{number}", "") for number in (1, 2, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """That of a cluster whose nodes are stopped."""
    home = tmp_path / "home"
    save_cluster(LocalCluster("default", str(home / "default"), 1, 16, NODES))
    with chdir(tmp_path), patch.dict(os.environ, {"RINGMILL_HOME": str(home), "HOME": str(tmp_path)}):
        yield home / "default"


@pytest.fixture
def sleeper(folder: Path) -> Iterator[LocalNode]:
    """A process that n1 is."""
    process = processes.spawn(
        ["-c", "import time; time.sleep(600)"], log_path=str(folder / "log"), folder=str(folder)
    )
    node = replace(NODES[0], pid=process.pid, started=processes.start_mark(process.pid))
    save_cluster(local_cluster.required_cluster(str(folder)).with_node(node))
    yield node
    process.kill()
    process.wait()


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


@pytest.mark.parametrize("verb", ["stop", "kill", "pause", "resume"])
def test_a_node_that_does_not_run_is_reported_before_another_is_signalled(
    folder: Path, sleeper: LocalNode, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main(["cluster", verb, "n1", "n2"]) == 3
    assert "n2 is not running" in (said := capsys.readouterr().err) and "nothing was changed" in said
    assert local_cluster.node_state(sleeper) == "running"


def test_a_node_that_ends_meanwhile_leaves_what_was_done_told(
    folder: Path, sleeper: LocalNode, capsys: pytest.CaptureFixture[str]
) -> None:
    states = {"n1": "running", "n2": "running"}  # n2 has ended once n1 was killed
    with patch.object(local_cluster, "node_state", lambda node: states[node.id]):
        assert main(["-o", "json", "cluster", "kill", "n1", "n2"]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["detail"]["changed"], error["outcome"]) == ("n1 killed", "unknown")


@pytest.mark.parametrize(
    ("trouble", "code"),
    [(OSError(errno.ENOSPC, "No space left on device"), "FILE_FAILED"), (PortTaken("taken"), "PORT_TAKEN")],
)
def test_a_node_that_cannot_be_started_again_is_told_to_be_stopped(
    folder: Path, capsys: pytest.CaptureFixture[str], trouble: Exception, code: str
) -> None:
    with (
        patch.object(local_cluster, "stop_nodes") as stop,
        patch.object(local_cluster, "start_nodes", side_effect=trouble),
    ):
        assert main(["-o", "json", "cluster", "restart", "n3"]) == 1
    stop.assert_called_once_with([NODES[2]])
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["outcome"]) == (code, "unknown")
    assert error["detail"]["changed"] == "n3 stopped, and not started again"


def test_a_node_that_runs_when_a_restart_fails_is_not_told_to_be_stopped(
    folder: Path, sleeper: LocalNode, capsys: pytest.CaptureFixture[str]
) -> None:
    """Waiting for it may fail, as when its log cannot be read."""
    with (
        patch.object(local_cluster, "stop_nodes"),
        patch.object(cluster_nodes, "start_again", side_effect=OSError(errno.EIO, "Input/output error")),
    ):
        assert main(["-o", "json", "cluster", "restart", "n1", "n3"]) == 1
    told = json.loads(capsys.readouterr().err)["error"]["detail"]["changed"]
    assert told == "n1 started again and left running; n3 stopped, and not started again"


def test_a_node_that_ends_while_it_starts_is_not_told_to_be_left_running(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    does = {"n1": "import time; time.sleep(600)", "n3": "raise SystemExit(3)"}
    with (
        patch.object(local_cluster, "_command", lambda cluster, node: ["-c", does[node.id]]),
        patch.object(tcp_ports, "check_free"),
    ):
        try:
            assert main(["-o", "json", "cluster", "restart", "n1", "n3"]) == 1
        finally:
            local_cluster.stop_nodes(local_cluster.required_cluster(str(folder)).nodes)
    error = json.loads(capsys.readouterr().err)["error"]
    assert "n3 ended while starting (exit code 3)" in error["message"]
    told = "n1 started again and left running; n3 stopped, and not started again"
    assert (error["detail"]["changed"], error["outcome"]) == (told, "unknown")


def test_a_scratch_cluster_signals_none_when_one_does_not_run(folder: Path, sleeper: LocalNode) -> None:
    scratch = ScratchCluster()
    scratch._cluster = local_cluster.required_cluster(str(folder))
    with pytest.raises(NotFound, match="n2 is not running"):
        scratch.kill("n1", "n2")
    assert scratch.state("n1") == "running"


@pytest.mark.parametrize("form", ["json", "raw"])
def test_followed_logs_are_lines_of_one_form_and_none_is_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    log = folder / "logs" / "n1.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("one\n")

    def write_meanwhile(stream: Any, *_: object, write: Callable[..., Any] = print, **__: object) -> None:
        write(stream)
        if "one" in stream:
            log.write_text("one\ntwo\n")

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster_logs, "print", write_meanwhile, raising=False)
    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["-o", form, "cluster", "logs", "-f"]) == 130
    lines = capsys.readouterr().out.splitlines()
    if form == "raw":
        assert lines == ["n1\tone", "n1\ttwo"]
    else:
        told = [json.loads(line) for line in lines]
        assert told == [{"node": "n1", "line": "one"}, {"node": "n1", "line": "two"}]
