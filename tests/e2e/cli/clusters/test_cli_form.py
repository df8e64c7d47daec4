"""`cluster form`: nodes that were started by hand become a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ringmill.client.local.processes import our_environment
from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[Shell]:
    yield Shell(tmp_path)


@pytest.fixture
def addresses(tmp_path: Path) -> Iterator[list[str]]:
    """Three nodes, as a person or systemd starts them."""
    base = free_base(3, 24000 + os.getpid() % 1000 * 6)
    places = [f"127.0.0.1:{base + number}" for number in range(3)]
    with ExitStack() as stack:
        log = stack.enter_context(open(tmp_path / "nodes.log", "wb"))
        for number, address in enumerate(places, 1):
            command = ["--id", f"n{number}", "--listen", address, "--data", str(tmp_path / f"n{number}")]
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ringmill.node", *command, "--profile", "fast"],
                env=our_environment(), stderr=log,
            )  # fmt: skip
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        yield places


def test_nodes_started_by_hand_become_a_cluster(by_hand: Shell, addresses: list[str]) -> None:
    endpoints = ("--endpoints", ",".join(addresses))
    up = by_hand.run("cluster", "up", *endpoints)
    assert up.code == 2 and "cluster form" in up.err
    formed = by_hand.ok("cluster", "form", *endpoints, "--partitions", "16", "-o", "json").json
    assert (formed["joined"], formed["replicas"], formed["already_formed"]) == (["n1", "n2", "n3"], 3, False)
    again = by_hand.ok("cluster", "form", *endpoints)
    assert b"cluster default is already formed: 3 nodes, 16 partitions, N=3" in again.out
    by_hand.ok("put", "k", "v", *endpoints)
    assert by_hand.ok("get", "k", "--endpoints", addresses[2]).out == b"v\n"
    by_hand.ok("cluster", "status", "--wait", "healthy", "--endpoints", addresses[1])
    other = by_hand.run("cluster", "form", *endpoints, "--partitions", "32")
    assert other.code == 2 and "was formed with partitions 16" in other.err
    assert not (by_hand.folder / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "--endpoints is missing"),
        (["--endpoints", "127.0.0.1"], "is not host:port"),
        (["--endpoints", "127.0.0.1:1,127.0.0.1:1"], "names 127.0.0.1:1 twice"),
        (["--endpoints", "127.0.0.1:1", "--replicas", "2"], "--replicas is 2, but there are 1 nodes"),
        (["--endpoints", "127.0.0.1:1", "--partitions", "100"], "power of two"),
    ],
)
def test_what_cannot_be_formed_is_refused_before_anybody_is_asked(
    by_hand: Shell, arguments: list[str], why: str
) -> None:
    refused = by_hand.call("cluster", "form", *arguments)
    assert refused.code == 2 and why in refused.err


def test_a_node_that_does_not_run_is_named(by_hand: Shell) -> None:
    waited = by_hand.call("cluster", "form", "--endpoints", "127.0.0.1:1", "--timeout", "300ms")
    assert waited.code == 5 and "127.0.0.1:1 nobody listens" in waited.err
