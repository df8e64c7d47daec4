"""A node of real processes loses its folder and gets its place back, filled by the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

import ringmill
from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell

KEYS = 500
REGISTERS = 50
PARTITIONS = 32


@pytest.fixture
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("replace"))
    start = 27000 + os.getpid() % 500 * 6
    place = ("--base-port", str(free_base(3, start)))
    shell.ok("cluster", "up", "-n", "3", "--partitions", str(PARTITIONS), *place)
    yield shell
    shell.ok("cluster", "down")


def address_of(shell: Shell, node: str) -> str:
    nodes = shell.run("cluster", "status", "-o", "json").json["nodes"]
    return next(str(each["address"]) for each in nodes if each["id"] == node)


def test_a_node_that_lost_its_folder_is_filled_again(three: Shell) -> None:
    address = address_of(three, "n2")
    with ringmill.Client([address]) as db:
        db.mput([(f"k{number}", b"v%d" % number) for number in range(KEYS)])
        for number in range(REGISTERS):
            db.registers.incr(f"r{number}")
    assert three.run("cluster", "replace", "n1", "-o", "json").json["changed"] is False
    three.ok("cluster", "kill", "n1")
    assert three.run("cluster", "replace", "n1", "--yes").code != 0, "it does not run"
    shutil.rmtree(three.folder / "home" / "default" / "n1")
    for patience in ("2s", "60s"):  # it is never ready, and says soon why
        lost = three.run("cluster", "restart", "n1", "--timeout", patience)
        if "cluster replace n1" in lost.err:
            break
    assert lost.code != 0 and "cluster replace n1" in lost.err
    plan = three.run("cluster", "replace", "n1", "--dry-run", "-o", "json").json
    assert (plan["partitions"], plan["short"]) == (PARTITIONS, [])
    assert plan["bytes"] > 0
    three.ok("cluster", "kill", "n3")
    refused = three.run("cluster", "replace", "n1", "--yes")
    assert refused.code != 0 and "n3 must be up" in refused.err
    three.ok("cluster", "restart", "n3")
    assert three.run("cluster", "replace", "n1").code != 0, "nobody has confirmed it"
    made = three.run("cluster", "replace", "n1", "--yes", "-o", "json").json
    assert (made["changed"], made["epoch"]) == (True, 2)
    three.until_healthy()
    three.ok("cluster", "kill", "n3")
    with ringmill.Client([address]) as db:
        for number in range(KEYS):
            assert db.get(f"k{number}", r=2).value == b"v%d" % number
        for number in range(REGISTERS):
            assert db.registers.incr(f"r{number}") == 2


def test_a_cluster_that_comes_up_beside_a_lost_folder_serves_and_names_it(three: Shell) -> None:
    three.ok("put", "key", "value")
    three.ok("cluster", "down")
    shutil.rmtree(three.folder / "home" / "default" / "n3")
    came_up = three.run("cluster", "up", "--timeout", "60s")
    assert came_up.code != 0 and "n3 has disk" in came_up.err
    assert "cluster replace n3" in came_up.err and "n1 n2 n3 started and left running" in came_up.err
    assert three.ok("get", "key").out.strip() == b"value"
    three.ok("cluster", "replace", "n3", "--yes")
    three.until_healthy()
