"""What a user sees of a cluster's processes: up, kill, pause, restart; test_cli_data_folders.py has
down."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from ringmill.client.blocking import Client
from ringmill.client.connection import connect
from ringmill.client.local.checked_load import CheckedLoad
from ringmill.client.local.local_cluster import node_state, required_cluster
from ringmill.client.values import Item, Receipt
from tests.e2e.cli.conftest import PARTITIONS, Shell, cluster_of_five

NODES: Final = ("n1", "n2", "n3", "n4", "n5")
RESTART_GOAL_S: Final = 10.0
PATIENCE_S: Final = 60.0


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A cluster that nothing has happened to yet."""
    with cluster_of_five(tmp_path_factory, "--partitions", str(PARTITIONS)) as shell:
        yield shell


def nodes_of(shell: Shell) -> dict[str, Any]:
    return {one["id"]: one for one in shell.ok("cluster", "status", "-o", "json").json["nodes"]}


def hints_of(shell: Shell) -> int:
    return sum(one["hints"] or 0 for one in nodes_of(shell).values())


def test_five_nodes_are_five_processes_with_their_own_folders(shell: Shell) -> None:
    shell.until_healthy()
    status = shell.ok("cluster", "status", "-o", "json").json
    assert status["health"] == "ok" and status["epoch"] == 1
    pids = {one["pid"] for one in status["nodes"]}
    assert len(pids) == 5 and all(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert {one["state"] for one in status["nodes"]} == {"up"}
    assert sum(one["owns"] for one in status["nodes"]) == 3 * PARTITIONS
    home = shell.folder / "home" / "default"
    assert all((home / f"n{number}").is_dir() for number in range(1, 6))
    assert (home / "token").stat().st_mode & 0o777 == 0o600


def test_a_second_up_says_that_it_runs_and_starts_nothing(shell: Shell) -> None:
    before = {name: one["pid"] for name, one in nodes_of(shell).items()}
    again = shell.ok("cluster", "up")
    assert b"already running" in again.out
    assert {name: one["pid"] for name, one in nodes_of(shell).items()} == before
    other = shell.run("cluster", "up", "-n", "3")
    assert other.code == 2 and "exists with nodes 5" in other.err
    assert b"default\t5\t5" in shell.ok("cluster", "list").out


def test_a_killed_node_leaves_everything_readable_and_writable(shell: Shell) -> None:
    for number in range(4):
        shell.ok("put", f"kept:{number}", str(number))
    killed = shell.ok("cluster", "kill", "n3", "-o", "json").json["nodes"][0]
    assert not os.path.exists(f"/proc/{killed['pid']}") or killed["done"] == "killed"
    assert shell.run("cluster", "status", "--check").code == 7
    ill = shell.run("doctor")
    told = [line.split("\t") for line in ill.out.decode().splitlines() if line.startswith("x\t")]
    assert ill.code == 7 and {"processes"} <= {line[1] for line in told} <= {"nodes", "processes"}
    assert all("n3" in line[2] and line[3].endswith("cluster restart n3") for line in told)
    for number in range(4):
        assert shell.ok("get", f"kept:{number}").out == b"%d\n" % number
        shell.ok("put", f"kept:{number}", f"{number}+")
    assert shell.run("cluster", "kill", "n3").code == 3
    shell.ok("cluster", "restart", "n3")
    shell.until_healthy()
    deadline = time.monotonic() + 60
    while hints_of(shell) and time.monotonic() < deadline:
        time.sleep(0.2)
    for number in range(4):
        shell.ok("get", f"kept:{number}", "-r", "all")
        owners = shell.ok("locate", f"kept:{number}", "-o", "json").json["owners"]
        assert all(owner["same"] for owner in owners), owners


def test_a_level_that_cannot_be_met_says_who_acked_and_who_did_not(shell: Shell) -> None:
    shell.ok("put", "level", "1")
    owner = shell.ok("locate", "level", "-o", "json").json["owners"][2]["node"]
    shell.ok("cluster", "kill", owner)
    missed = shell.run("put", "level", "2", "-w", "3", "-o", "json", "--timeout", "3s")
    assert missed.code == 5 and missed.out == b""
    error = missed.error
    assert (error["code"], error["exit"], error["outcome"]) == ("QUORUM_NOT_REACHED", 5, "unknown")
    assert error["detail"]["need"] == 3 and len(error["detail"]["acked"]) == 2
    assert list(error["detail"]["failed"]) == [owner]
    assert shell.ok("get", "level", "-r", "1").out in (b"1\n", b"2\n", b"1\n2\n")
    shell.ok("cluster", "up")  # starts what is stopped
    shell.until_healthy()


def test_a_paused_node_holds_up_no_request_beyond_its_deadline(shell: Shell) -> None:
    shell.ok("put", "patience", "1")
    first = shell.ok("locate", "patience", "-o", "json").json["owners"][0]["node"]
    shell.ok("cluster", "pause", first)
    begun = time.monotonic()
    assert shell.ok("get", "patience", "--timeout", "4s").out == b"1\n"
    shell.ok("put", "patience", "2", "--timeout", "4s")  # nothing is sent to one who does not answer
    assert time.monotonic() - begun < 8.5
    state = {one["id"]: one["state"] for one in shell.run("cluster", "status", "-o", "json").json["nodes"]}
    assert state[first] == "paused"
    shown = shell.run("cluster", "status", "--check")
    assert shown.code == 7 and f"{first} is paused" in shown.err
    waited = shell.run("cluster", "status", "--wait", "healthy", "--timeout", "1s")
    assert waited.code == 8 and f"left: {first} is paused" in waited.err
    shell.ok("cluster", "resume")
    shell.until_healthy()


def test_a_status_in_a_pipe_has_rows_on_stdout_and_its_verdict_on_stderr(shell: Shell) -> None:
    shown = shell.ok("cluster", "status")
    assert [row.split(b"\t")[0] for row in shown.out.splitlines()] == [b"n1", b"n2", b"n3", b"n4", b"n5"]
    assert f"  ok  epoch 1  N=3  partitions: {PARTITIONS} complete, 0 under-replicated" in shown.err
    node = shell.ok("cluster", "status", "-o", "json").json["nodes"][0]
    assert node["zone"] == "default" and node["uptime_s"] > 0


async def test_a_rolling_restart_fails_no_request(shell: Shell) -> None:
    file = shell.folder / "home" / "default" / "cluster.json"
    before = {node["id"]: node for node in json.loads(file.read_text())["nodes"]}
    is_over = asyncio.Event()
    async with connect([node["address"] for node in before.values()]) as db:
        load = CheckedLoad(db, keys=32, workers=2, prefix="rolling", pause_s=0.01)

        async def count() -> int:
            number = 0
            while not is_over.is_set():
                number = await db.registers.incr("rolling")
                await asyncio.sleep(0.01)
            return number

        async with asyncio.TaskGroup() as group:
            counting = group.create_task(count())
            group.create_task(load.run(is_over.is_set))
            restarted = await asyncio.to_thread(shell.ok, "cluster", "restart", "--rolling", "n1", "n2")
            is_over.set()
        counted = counting.result()
        assert (load.refused, load.unknown, load.failed_reads, load.lost) == (0, 0, [], [])
        assert load.acknowledged and (await db.registers.get("rolling")).value == b"%d" % counted
    assert "n2 (1 of 2): stopped" in restarted.err and "n1 (2 of 2): stopped" in restarted.err
    after = {node["id"]: node["pid"] for node in json.loads(file.read_text())["nodes"]}
    assert [name for name in NODES if after[name] != before[name]["pid"]] == ["n1", "n2"]


def test_a_rolling_restart_does_not_begin_while_a_node_is_away(shell: Shell) -> None:
    assert b"n5" in shell.ok("cluster", "stop", "n5").out
    refused = shell.run("cluster", "restart", "--rolling", "-o", "json")
    assert (refused.code, refused.error["outcome"]) == (6, "failed")
    assert "n5 is " in refused.error["message"] and "--force" in refused.error["hint"]
    assert shell.run("cluster", "stop", "n5").code == 3
    shell.ok("cluster", "restart", "n5")
    shell.until_healthy()


def test_five_nodes_killed_and_restarted_together_serve_every_acknowledged_write(
    shell: Shell, record_property: Callable[[str, object], None]
) -> None:
    pairs = {f"crowd:{number}": b"%d" % number * 100 for number in range(500)}
    file = shell.folder / "home" / "default" / "cluster.json"
    addresses = [node["address"] for node in json.loads(file.read_text())["nodes"]]
    for number in range(3):
        shell.ok("put", f"all:{number}", str(number))
    with Client(addresses, timeout=PATIENCE_S) as db:
        receipts = db.mput(pairs)
        assert all(isinstance(receipt, Receipt) for receipt in receipts)
        shell.ok("cluster", "kill", *NODES)
        nobody = shell.run("get", "all:0", "-o", "json")
        assert (nobody.code, nobody.error["exit"]) == (6, 6)
        stopped = shell.run("cluster", "status", "--wait", "healthy", "--timeout", "30s")
        assert stopped.code == 6
        begun = time.monotonic()
        shell.ok("cluster", "up", "--timeout", f"{PATIENCE_S}s")
        items = db.mget(pairs)
        again = db.mput(pairs)
        took_s = time.monotonic() - begun
    found = [item.value if isinstance(item, Item) else item for item in items]
    assert found == list(pairs.values())
    assert all(isinstance(receipt, Receipt) for receipt in again)
    record_property("goal_s", RESTART_GOAL_S)
    record_property("served_again_after_s", round(took_s, 2))
    shell.until_healthy()
    for number in range(3):
        assert shell.ok("get", f"all:{number}").out == b"%d\n" % number


def test_logs_name_the_node(shell: Shell) -> None:
    shell.ok("cluster", "logs", "n1", "-n", "5")
    assert shell.run("cluster", "logs", "n9").code == 3


def test_a_taken_port_is_named_with_its_owner(shell: Shell) -> None:
    file = shell.folder / "home" / "default" / "cluster.json"
    port = int(json.loads(file.read_text())["nodes"][0]["address"].rpartition(":")[2])
    taken = shell.run("--cluster", "other", "cluster", "up", "--base-port", str(port))
    assert taken.code == 1 and f"port {port} is taken by pid" in taken.err and "--base-port" in taken.err


def test_a_dry_autoscale_tells_what_it_would_do_and_changes_nothing(shell: Shell) -> None:
    shell.until_healthy()
    shell.ok("put", "heavy", "x" * 100)
    bounds = ("--min", "3", "--max", "7", "--target-bytes", "1B", "--sustained", "0s")
    told = shell.ok("cluster", "autoscale", *bounds, "--for", "500ms", "--dry-run", "-o", "json").out
    first = json.loads(told.splitlines()[0])
    assert (first["decision"], first["dry_run"], first["members"]) == ("add", True, 5)
    assert {*first["figures"]} == {*NODES} == {*nodes_of(shell)}


def test_chaos_keeps_every_promise_and_leaves_the_cluster_as_it_was(shell: Shell) -> None:
    shell.until_healthy()
    before = shell.ok("keyspace", "list").out
    told = shell.ok("cluster", "chaos", "--for", "3s", "--every", "1s", "--seed", "7", "-o", "json").json
    assert (told["seed"], told["verdict"], told["witness"]) == (7, "held", None)
    assert [check["held"] for check in told["checks"]] == [True] * 5
    assert sum(told["faults"].values()) + told["skipped"] == 3 and told["operations"] > 100
    assert {outage["node"] for outage in told["outages"]} <= {*NODES}
    assert all(outage["away_s"] > 0 for outage in told["outages"])
    assert {one["state"] for one in nodes_of(shell).values()} == {"up"}
    assert shell.ok("keyspace", "list").out == before


def test_chaos_that_is_interrupted_resumes_the_node_that_it_has_paused(shell: Shell) -> None:
    before = shell.ok("keyspace", "list").out
    folder = str(shell.folder / "home" / "default")
    running = shell.start("cluster", "chaos", "--for", "60s", "--faults", "pause", "--seed", "2")
    deadline = time.monotonic() + PATIENCE_S
    while "paused" not in {node_state(node) for node in required_cluster(folder).nodes}:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130 and "put back: n" in err.decode()
    assert {node_state(node) for node in required_cluster(folder).nodes} == {"running"}
    assert shell.ok("keyspace", "list").out == before
