"""Two of three real nodes are lost with their disks; by an operator's word the third goes on."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ringmill
from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Ended, Shell

KEYS = 300
PARTITIONS = 32
PATIENT_S = 60.0


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("recover"))
    start = 25000 + os.getpid() % 300 * 6
    place = ("--base-port", str(free_base(3, start)))
    shell.ok("cluster", "up", "-n", "3", "--partitions", str(PARTITIONS), *place)
    yield shell
    shell.ok("cluster", "down")


def start_unready(shell: Shell, node: str, says: str) -> None:
    """It is never ready; on an empty disk that is told soon, else all of the timeout is waited for."""
    for patience in ("2s", "10s", "60s"):
        ended = shell.run("cluster", "restart", node, "--timeout", patience)
        if says in ended.err:
            break
    assert ended.code != 0 and says in ended.err, ended.err


def on_an_empty_disk(shell: Shell, folder: Path, node: str) -> None:
    shutil.rmtree(folder / node, ignore_errors=True)
    start_unready(shell, node, f"cluster replace {node}")


def recover(shell: Shell, *options: str) -> Ended:
    return shell.run("cluster", "recover", "n2", "n3", "-o", "json", *options)


def test_one_node_of_three_is_enough_to_go_on_by_the_operators_word(three: Shell) -> None:
    folder = three.folder / "home" / "default"
    nodes = three.ok("cluster", "status", "-o", "json").json["nodes"]
    address = {each["id"]: str(each["address"]) for each in nodes}
    with ringmill.Client([address["n1"]]) as db:
        db.mput([(f"k{number}", b"v%d" % number) for number in range(KEYS)], w="all")
        assert db.registers.incr("r") == 1
    assert "n2, n3 answers" in recover(three, "--accept-data-loss", "--yes").err
    three.ok("cluster", "kill", "n2", "n3")
    plan = recover(three).json
    assert (plan["short"], plan["gone"], plan["lost_voters"], plan["left"]) == (PARTITIONS, 0, 2, ["n1"])
    assert (plan["least_w"], plan["is_made"]) == (2, False)
    assert KEYS * 0.9 < plan["short_keys"] < KEYS * 1.1
    assert recover(three, "--accept-data-loss").code != 0, "nobody has typed the name"
    made = recover(three, "--accept-data-loss", "--yes").json
    assert made["changed"] and not recover(three, "--accept-data-loss").json["changed"]
    assert recover(three).json["is_made"]

    start_unready(three, "n2", "is not ready to serve")  # it is on its old disk
    with ringmill.Client([address["n1"]], timeout=2) as db:
        assert db.get("k7", r=1).value == b"v7"
        with pytest.raises(ringmill.QuorumNotReached):
            db.put("other", b"v")
    three.ok("cluster", "kill", "n2")

    on_an_empty_disk(three, folder, "n2")
    assert three.run("cluster", "replace", "n2", "--yes").code != 0, "n3 is lost, too"
    three.ok("cluster", "replace", "n2", "--accept-data-loss", "--yes")
    until = time.monotonic() + PATIENT_S
    while len((view := three.ok("repair", "heal", "n2", "-o", "json").json)["waiting"]) < PARTITIONS:
        assert time.monotonic() < until, view
        time.sleep(0.25)
    assert set(map(tuple, view["waiting"].values())) == {("n3",)}
    healed = three.ok("repair", "heal", "n2", "--accept-data-loss", "--yes", "-o", "json").json
    assert healed["unfilled"] == 0
    on_an_empty_disk(three, folder, "n3")
    three.ok("cluster", "replace", "n3", "--yes")
    three.until_healthy()
    assert len(three.ok("cluster", "status", "-o", "json").json["voters"]) == 3
    three.ok("cluster", "kill", "n1")
    with ringmill.Client([address["n2"]]) as db:
        for number in range(KEYS):
            assert db.get(f"k{number}").value == b"v%d" % number
        assert db.registers.incr("r") == 2
