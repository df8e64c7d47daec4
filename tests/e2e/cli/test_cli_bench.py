"""`ringmill bench` on real nodes: an honest report, and a cluster as it was before."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell

SHORT = ("--seconds", "1s", "--keys", "200", "--in-flight", "8")


@pytest.fixture(scope="module")
def one_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in a folder with a cluster of one node."""
    shell = Shell(tmp_path_factory.mktemp("bench"))
    base = free_base(1, 24000 + os.getpid() % 1000 * 3)
    shell.ok("cluster", "up", "-n", "1", "--base-port", str(base))
    yield shell
    shell.ok("cluster", "down")


def keys_of(shell: Shell) -> int:
    told = shell.ok("cluster", "status", "-o", "json").json
    return int(sum(node["keys"] for node in told["nodes"]))


def test_a_cluster_of_its_own_is_measured_and_gone(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    ended = shell.command("bench", "--local", "1", *SHORT, "--workload", "f", "-o", "json")
    told = ended.json
    assert (told["nodes"], told["workload"], told["loop"], told["keys"]) == (1, "f", "closed", 200)
    assert told["operations"] > 0
    assert told["errors"] == {}
    assert told["not_found"] == 0
    assert told["cleaned"] == {"deleted": 200, "errors": {}}
    assert told["processor_us"]["nodes"] > 0 < told["processor_us"]["client"]
    assert set(told["latency_ms"]) == {"get", "modify", "all"}
    for figures in told["latency_ms"].values():
        assert 0 < figures["p50"] <= figures["p99"] <= figures["p99.99"] <= figures["max"]
    assert any("share this machine" in note for note in told["notes"])
    assert os.listdir(tmp_path) == []


def test_an_open_loop_is_reported_by_its_rate_and_leaves_no_keys(one_node: Shell) -> None:
    ended = one_node.command("bench", *SHORT, "--rate", "50", "--workload", "put")
    assert ended.code == 0, ended.err
    lines = dict(line.split("\t", 1) for line in ended.out.decode().splitlines())
    assert lines["loop"] == "open, 50 per second, at most 8 in flight"
    assert "sent late" in lines
    assert lines["deleted"] == "200 keys of this run"
    assert keys_of(one_node) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_run_deletes_its_keys(one_node: Shell, number: signal.Signals) -> None:
    process = one_node.start("bench", "--seconds", "10m", "--keys", "200")
    deadline = time.monotonic() + 60
    while keys_of(one_node) < 200:
        assert time.monotonic() < deadline
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"deleting the 200 keys of this run" in said
    assert keys_of(one_node) == 0


def test_a_level_that_cannot_be_is_one_error(one_node: Shell) -> None:
    ended = one_node.command("bench", *SHORT, "-w", "3", "-o", "json")
    assert ended.code == 1
    assert ended.error["code"] == "INVALID_ARGUMENT"
    assert "level 3" in ended.error["message"]
