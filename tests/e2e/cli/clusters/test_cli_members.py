"""Members of real processes come and go under load, and nodes are killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence

import pytest

import ringmill
from ringmill.client.local.local_state import load_cluster
from ringmill.client.local.tcp_ports import free_base
from tests.e2e.cli.conftest import Shell
from tests.e2e.waiting import until
from tests.long_form import takes_long

NODES = 3
KEYS = 400
COME = 3
PAUSE_S = 0.02  # a load that never rests slows down what it watches


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("members"))
    base = free_base(NODES + COME, 24000 + os.getpid() % 500 * 8)
    shell.ok("cluster", "up", "-n", str(NODES), "--partitions", "16", "--base-port", str(base))
    yield shell
    shell.end()
    shell.ok("cluster", "down")


class Load:
    """Puts, reads back and counts, now and then, until it is stopped; notes what went wrong."""

    def __init__(self, addresses: list[str], name: str) -> None:
        self.acked: dict[str, bytes] = {}
        self.counted = 0
        self.wrong: list[str] = []
        self._name = name
        self._addresses = addresses
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _work(self) -> None:
        with ringmill.Client(self._addresses, timeout=20) as db:
            number, contexts = 0, dict[str, ringmill.CausalContext]()
            while not self._is_over.wait(PAUSE_S):
                key, value = f"{self._name}-{number % 100}", b"%d" % number
                try:
                    # Without a context it overwrites what its coordinator knows, and that may have been away.
                    db.put(key, value, context=contexts.get(key))
                    self.acked[key] = value
                    found = db.get(key)
                    contexts[key] = found.context
                    if found.value != value:
                        self.wrong.append(f"{key} is {found.value!r}, put was {value!r}")
                    self.counted += 1
                    db.registers.incr(self._name)
                except Exception as error:  # noqa: BLE001 - else the load would end, and nothing be looked at
                    self.wrong.append(f"{type(error).__name__}: {error}")
                number += 1


def go_on(loads: Sequence[Load]) -> None:
    """Until no request is under way that has met a killed node: one more would leave it too few."""
    before = [load.counted for load in loads]
    until(lambda: all(load.counted > count + 1 for load, count in zip(loads, before, strict=True)))


def members(shell: Shell) -> dict[str, int]:
    """The partitions that each member owns."""
    nodes = shell.run("ring", "show", "-o", "json").json["nodes"]
    return {str(each["node"]): int(each["partitions"]) for each in nodes}


def hold_go_on_and_give_up(shell: Shell) -> None:
    """n3 is to leave.  n4 is dead, so what is to move there is neither begun nor over when a verb comes."""
    shell.ok("cluster", "kill", "n4")
    shell.ok("cluster", "remove", "n3", "--yes", "--no-wait")
    held = shell.run("cluster", "moves", "--pause", "-o", "json").json
    assert held["paused"] and held["left"] > 0 and "n3" in held["leaving"]
    assert b"paused" in shell.run("cluster", "moves").out
    gone_on = shell.run("cluster", "moves", "--resume", "-o", "json").json
    assert not gone_on["paused"] and gone_on["left"] > 0
    given_up = shell.run("cluster", "moves", "--abort", "-o", "json").json
    assert (given_up["left"], given_up["joint"], given_up["leaving"]) == (0, 0, {})
    nothing = shell.run("cluster", "moves", "--pause")
    assert nothing.code != 0 and "nothing moves, so there is nothing to pause" in nothing.err
    assert set(members(shell)) == {"n1", "n2", "n3", "n4"}, "n3 stays"
    shell.ok("cluster", "restart", "n4")


@takes_long
def test_members_come_and_go_under_load_while_nodes_are_killed(three: Shell) -> None:
    status = three.run("cluster", "status", "-o", "json").json["nodes"]
    addresses = [str(each["address"]) for each in status]
    with ringmill.Client(addresses) as db:
        db.mput([(f"k{number}", b"v%d" % number) for number in range(KEYS)])
        for number in range(40):
            db.registers.incr(f"r{number}")
    assert three.run("cluster", "add").code != 0, "nobody has confirmed it"
    plan = three.run("cluster", "add", "--dry-run", "-o", "json").json
    assert plan["copies"] == 12 and plan["balance"]["after"] == 1
    loads = [Load(addresses, name) for name in ("a", "b")]
    try:
        three.ok("cluster", "add", "--yes", "--no-wait")
        three.ok("cluster", "kill", "n2")
        three.ok("cluster", "restart", "n2")
        go_on(loads)
        three.ok("cluster", "kill", "n4")
        three.ok("cluster", "restart", "n4")
        three.ok("cluster", "moves", "--follow", "--timeout", "60s")
        assert members(three) == {"n1": 12, "n2": 12, "n3": 12, "n4": 12}
        hold_go_on_and_give_up(three)
        go_on(loads)
        three.ok("cluster", "kill", "n1")
        gone = three.run("cluster", "remove", "n1", "--dead", "--yes", "-o", "json")
        assert gone.code == 0, gone.err
        assert members(three) == {"n2": 16, "n3": 16, "n4": 16}
        refused = three.run("cluster", "remove", "n3", "--yes")
        assert refused.code != 0 and "2 members would be left, and N is 3" in refused.err
        alive = three.run("cluster", "replace", "n3=n5", "--dead", "--dry-run")
        assert alive.code != 0 and "n3 answers on its disk, so that is not gone" in alive.err
        plan = three.run("ring", "plan", "--replace", "n3=n5", "-o", "json").json
        assert {(move["joiner"], move["leaver"]) for move in plan["moves"]} == {("n5", "n3")}
        three.ok("cluster", "replace", "n3=n5", "--yes")
        assert members(three) == {"n2": 16, "n4": 16, "n5": 16}
        names = [each["node"] for each in three.run("cluster", "logs", "-o", "json").json]
        assert "n3" not in names, "its process is stopped and forgotten"
    finally:
        for load in loads:
            load.stop()
    with ringmill.Client(addresses[1:]) as db:
        for load, name in zip(loads, ("a", "b"), strict=True):
            assert load.wrong == []
            assert {key: db.get(key).value for key in load.acked} == load.acked
            assert db.registers.incr(name) == load.counted + 1
        for number in range(KEYS):
            assert db.get(f"k{number}").value == b"v%d" % number
        assert [db.registers.incr(f"r{number}") for number in range(40)] == [2] * 40
    three.until_healthy()


@takes_long
def test_a_node_is_started_under_pressure_and_leaves_and_is_stopped_when_the_cluster_is_idle(
    three: Shell,
) -> None:
    """Three nodes with 1 MiB each are above the target, and without those keys far below it."""
    three.until_healthy()
    folder, log = str(three.folder / "home" / "default"), three.folder / "scaling.jsonl"
    before, heavy = members(three), [f"heavy{number}" for number in range(16)]
    addresses = [str(each["address"]) for each in three.run("cluster", "status", "-o", "json").json["nodes"]]
    pace = ("--every", "500ms", "--sustained", "0s", "--cool-down", "0s", "--log", str(log))
    bounds = ("--min", "3", "--max", "4", "--target-bytes", "700KiB")

    def did() -> list[tuple[str, str]]:
        told = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [(each["event"], each["node"]) for each in told if each["event"] != "decision"]

    with ringmill.Client(addresses) as db:
        db.mput([(key, bytes(65_536)) for key in heavy])
        scaling = three.start("cluster", "autoscale", *bounds, *pace)
        try:
            until(lambda: "joined" in dict(did()) or scaling.poll() is not None)
            ((_, fresh),) = did()[:1]
            cluster = load_cluster(folder)
            assert cluster is not None
            pid = cluster.node(fresh).pid
            assert set(members(three)) == {*before, fresh} and os.path.exists(f"/proc/{pid}")
            for key in heavy:
                db.delete(key)
            until(lambda: "stopped" in dict(did()) or scaling.poll() is not None)
        finally:
            scaling.send_signal(signal.SIGINT)
            _, err = scaling.communicate(timeout=60)
    steps = ("started", "joins", "joined", "leaves", "left", "stopped")
    assert did() == [(step, fresh) for step in steps], err.decode()
    assert scaling.returncode == 130
    assert members(three) == before and not os.path.exists(f"/proc/{pid}/exe")
    ended = load_cluster(folder)
    assert ended is not None and fresh not in {node.id for node in ended.nodes}
