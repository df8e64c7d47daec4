"""`cluster form`: nodes that were started by hand become a cluster."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ringmill.client.local.processes import our_environment
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import PermissionDenied
from ringmill.node import lifecycle
from ringmill.node.config import parse_arguments
from tests.e2e.cli.conftest import Shell


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


@contextmanager
def node_started(folder: Path, name: str, address: str) -> Iterator[None]:
    """As a person or systemd starts it; the file of the token is there."""
    command = ["--id", name, "--listen", address, "--data", str(folder / name)]
    command += ["--token-file", str(folder / "token")]
    with open(folder / "nodes.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ringmill.node", *command, "--profile", "fast"],
            env=our_environment(), stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Where three nodes are to listen, and the file of their token."""
    base = free_base(3, 24000 + os.getpid() % 1000 * 6)
    (tmp_path / "token").write_text("what-the-nodes-of-this-cluster-know")
    (tmp_path / "token").chmod(0o600)
    return [f"127.0.0.1:{base + number}" for number in range(3)]


@pytest.fixture
def addresses(tmp_path: Path, places: list[str]) -> Iterator[list[str]]:
    """Three nodes that run."""
    with ExitStack() as stack:
        for number, address in enumerate(places, 1):
            stack.enter_context(node_started(tmp_path, f"n{number}", address))
        yield places


def test_nodes_started_by_hand_become_a_cluster(by_hand: Shell, addresses: list[str]) -> None:
    endpoints = ("--endpoints", ",".join(addresses))
    up = by_hand.run("cluster", "up", *endpoints)
    assert up.code == 2 and "cluster form" in up.err
    swapped = by_hand.call("cluster", "form", "--members", f"n2={addresses[0]},n1={addresses[1]}")
    assert swapped.code == 2 and f"{addresses[0]} is n1, not n2" in swapped.err
    members = ",".join(f"n{number}={address}" for number, address in enumerate(addresses, 1))
    formed = by_hand.ok("cluster", "form", "--members", members, "--partitions", "16", "-o", "json").json
    assert (formed["joined"], formed["replicas"], formed["already_formed"]) == (["n1", "n2", "n3"], 3, False)
    again = by_hand.ok("cluster", "form", *endpoints)
    assert b"cluster default is already formed: 3 nodes, 16 partitions, N=3" in again.out
    by_hand.ok("put", "k", "v", *endpoints)
    assert by_hand.ok("get", "k", "--endpoints", addresses[2]).out == b"v\n"
    by_hand.ok("cluster", "status", "--wait", "healthy", "--endpoints", addresses[1])
    other = by_hand.run("cluster", "form", *endpoints, "--partitions", "32")
    assert other.code == 2 and "was formed with partitions 16" in other.err
    assert not (by_hand.folder / "home").exists()
    a_node_joins_by_a_token(by_hand, addresses)


def test_two_who_form_at_once_get_one_cluster_or_one_clear_error(by_hand: Shell, places: list[str]) -> None:
    """Each is a process of its own.  While a node is away both are told so, and nothing has begun."""

    def at_once(*lines: tuple[str, ...]) -> list[tuple[int, str, str]]:
        line = ("cluster", "form", "--endpoints", ",".join(places), "-o", "json")
        running = [by_hand.start(*line, *options) for options in lines]
        ended = [(*process.communicate(timeout=120), process.returncode) for process in running]
        return [(code, out.decode(), err.decode()) for out, err, code in ended]

    with ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(node_started(by_hand.folder, f"n{number}", places[number - 1]))
        for code, _, err in at_once(*[("--timeout", "2s")] * 2):
            error = json.loads(err.splitlines()[-1])["error"]
            assert (code, error["code"]) == (5, "DEADLINE_EXCEEDED")
            assert error["detail"]["waiting"][places[2]].startswith("nobody listens")
        stack.enter_context(node_started(by_hand.folder, "n3", places[2]))
        few, again, many = at_once(
            *[("--timeout", "100s", "--partitions", count) for count in ("16", "16", "32")]
        )
        done, refused = ([few, again], [many]) if few[0] == 0 else ([many], [few, again])
        assert [code for code, _, _ in done] == [0] * len(done), (done, refused)
        assert len({json.loads(out)["id"] for _, out, _ in done}) == 1
        for code, _, err in refused:
            assert code == 2 and "was formed with partitions" in err
        other = by_hand.run("--cluster", "other", "cluster", "form", "--endpoints", ",".join(places))
        assert other.code == 2 and "these nodes are cluster default, not other" in other.err
        by_hand.ok("put", "k", "v", "-w", "all", "--endpoints", places[0])


def a_node_joins_by_a_token(by_hand: Shell, addresses: list[str]) -> None:
    """A host that has nothing but a file of settings and a token for its name."""
    host, secret = by_hand.folder / "host4", by_hand.folder / "token"
    ours = ("--endpoints", addresses[0], "--token-file", str(secret))
    without = by_hand.call("cluster", "join-token", "n4", "--endpoints", addresses[0])
    assert without.code == 2 and "none was given" in without.err
    member = by_hand.call("cluster", "join-token", "n2", *ours)
    assert member.code == 4 and "n2 is a member" in member.err
    assert "copy the token file of another node" in member.err
    made = by_hand.call("cluster", "join-token", "n4", "--ttl", "10m", *ours, "-o", "json").json
    assert made["node"] == "n4" and set(made["seeds"]) == set(addresses)
    host.mkdir(0o700)
    listen = f"127.0.0.1:{free_base(1, 26000 + os.getpid() % 1000 * 6)}"
    lines = {
        "id": "n4",
        "listen": listen,
        "data": str(host / "data"),
        "token-file": str(host / "token"),
        "seeds": addresses[::-1],
        "profile": "fast",
    }
    (host / "node.toml").write_text(
        "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items())
    )
    (host / "node.toml").chmod(0o600)

    def start(stack: ExitStack) -> None:
        run = [sys.executable, "-P", "-m", "ringmill.node", "--config", str(host / "node.toml")]
        with open(host / "log", "ab") as log:
            process = subprocess.Popen([*run, "--join", made["token"]], env=our_environment(), stderr=log)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        until = time.monotonic() + 60
        there = ("--endpoints", listen, "--token-file", str(secret))
        while by_hand.call("put", "k", "w", "--timeout", "1s", *there).code != 0:
            assert process.poll() is None and time.monotonic() < until, (host / "log").read_text()
            time.sleep(0.1)

    with ExitStack() as stack:
        start(stack)
        assert (host / "token").read_text().strip() == secret.read_text()
        assert (host / "token").stat().st_mode & 0o777 == 0o600
        assert by_hand.call("cluster", "moves", "--follow", "--timeout", "60s", *ours).code == 0
        shown = by_hand.ok("cluster", "status", *ours, "-o", "json").json
        assert {one["id"]: one["membership"] for one in shown["nodes"]}["n4"] == "up"
    with ExitStack() as stack:
        start(stack)  # with the same line: it has the cluster's token now, and needs the other one no more
    assert (host / "log").read_text().count("n4 joined the cluster") == 1
    until = time.monotonic() + 60  # while a member seems suspect it is refused, and changes nothing
    while (removed := by_hand.call("cluster", "remove", "n4", "--dead", "--yes", *ours)).code != 0:
        assert time.monotonic() < until, removed.err
        time.sleep(0.2)
    place = ["--data", str(by_hand.folder / "other"), "--token-file", str(by_hand.folder / "other-token")]
    config = parse_arguments(["--config", str(host / "node.toml"), "--join", made["token"], *place])
    assert config.join is not None
    again = lifecycle._join(config, config.join, OsEntropy(), asyncio.Event(), None)
    with pytest.raises(PermissionDenied, match="is used up: n4 joined by it, and was removed"):
        asyncio.run(again)
    assert not (by_hand.folder / "other-token").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "--members or --endpoints is missing"),
        (["--members", "127.0.0.1:1"], "--members '127.0.0.1:1' is not ID=HOST:PORT"),
        (["--members", "n1=127.0.0.1"], "--members: '127.0.0.1' is not host:port"),
        (["--members", "n1=127.0.0.1:1,n2=127.0.0.1:1"], "--members names 127.0.0.1:1 twice"),
        (["--members", "n1=127.0.0.1:1", "--endpoints", "127.0.0.1:1"], "give one of them"),
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
