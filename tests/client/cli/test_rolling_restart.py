"""A rolling restart stops at the first node that does not come back; --force skips the looks and not that."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.cli.cluster import cluster_rolling
from ringmill.client.cli.cluster.cluster_rolling import restart_rolling
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.cluster.errors import DeadlineExceeded, RingmillError, Unavailable

NODES = tuple(LocalNode(f"n{number}", f"127.0.0.1:{7100 + number}", "") for number in (1, 2, 3))


@dataclass
class Machine:
    """Processes that are only names: what was done to them, who ends at its start, who stays behind."""

    dies: str = ""
    behind: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_silent: bool = False
    done: list[str] = field(default_factory=list)

    async def look(self, settings: Settings, timeout_s: float) -> ClusterStatus:
        if self.is_silent:
            raise Unavailable("no member answers")
        nodes = tuple(
            NodeStatus(each.id, each.address, "up", "up", 16, epoch=4, unfilled=0) for each in NODES
        )
        seen = tuple(replace(each, **self.behind.get(each.id, {})) for each in nodes)
        return ClusterStatus("c", 4, 3, "ok", (), "n1", Ranges(16, 0, 0), seen)

    def stop_nodes(self, nodes: Sequence[LocalNode]) -> dict[str, str]:
        self.done += [f"stop {node.id}" for node in nodes]
        return {node.id: "stopped" for node in nodes}

    async def start_again(
        self, cluster: LocalCluster, nodes: Sequence[LocalNode], timeout_s: float
    ) -> LocalCluster:
        (node,) = nodes
        if node.id == self.dies:
            raise RingmillError(f"{node.id} ended while starting (exit code 1)")
        self.done.append(f"start {node.id}")
        return cluster


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    one, cluster = Machine(), LocalCluster("c", "/nowhere", 3, 16, NODES)
    monkeypatch.setattr(local_cluster, "required_cluster", lambda folder: cluster)
    monkeypatch.setattr(local_cluster, "stop_nodes", one.stop_nodes)
    monkeypatch.setattr(cluster_rolling, "ask_status", one.look)
    monkeypatch.setattr(cluster_rolling, "start_again", one.start_again)
    return one


def restart(*names: str, is_forced: bool = False, timeout_s: float = 5.0) -> None:
    asyncio.run(restart_rolling(Settings(timeout=timeout_s), names, is_forced=is_forced))


def test_all_nodes_go_one_after_the_other(machine: Machine) -> None:
    restart()
    assert machine.done == ["stop n2", "start n2", "stop n3", "start n3", "stop n1", "start n1"]


@pytest.mark.parametrize("is_forced", [False, True])
def test_it_stops_at_the_first_that_does_not_come_back(machine: Machine, is_forced: bool) -> None:
    machine.dies = "n3"
    with pytest.raises(RingmillError, match="n3 ended while starting") as stopped:
        restart(is_forced=is_forced)
    assert machine.done == ["stop n2", "start n2", "stop n3"], "n1 was not touched"
    changed = stopped.value.detail["changed"]
    assert changed == "n2 restarted; n3 was stopped and has not come back; n1 not touched"
    assert "cluster restart n3`, then `ringmill cluster restart --rolling n1`" in stopped.value.hint


def test_a_full_disk_stops_it_as_any_failure_does(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start_again(*_: object) -> LocalCluster:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cluster_rolling, "start_again", start_again)
    with pytest.raises(RingmillError, match="No space left") as stopped:
        restart()
    assert stopped.value.detail["changed"] == "n2 was stopped and has not come back; n3 n1 not touched"
    assert stopped.value.outcome == "unknown"


def test_one_that_does_not_catch_up_keeps_the_others_from_going(machine: Machine) -> None:
    async def look(settings: Settings, timeout_s: float) -> ClusterStatus:
        if machine.done:
            machine.behind = {"n2": {"awaited_hints": 7}}
        return await Machine.look(machine, settings, timeout_s)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(DeadlineExceeded) as stopped:
        patched.setattr(cluster_rolling, "ask_status", look)
        restart(timeout_s=0.01)
    assert "n2 waits for 7 hints after 0.01 s" in stopped.value.message
    assert machine.done == ["stop n2", "start n2"]


@pytest.mark.parametrize("behind", [{"n1": {"state": "down"}}, {"n2": {"unfilled": 3}}])
def test_force_restarts_whatever_the_state_is_and_waits_for_no_hints(
    machine: Machine, behind: dict[str, dict[str, Any]]
) -> None:
    machine.behind = behind
    with pytest.raises(Unavailable, match="a rolling restart would make requests fail"):
        restart()
    assert machine.done == [], "nothing was touched"
    restart(is_forced=True)
    assert machine.done == ["stop n2", "start n2", "stop n3", "start n3", "stop n1", "start n1"]


def test_what_a_start_leaves_behind_for_a_moment_is_looked_at_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """n3 was just restarted: it answers, n1 and n2 do not see it up yet, and then have hints for it."""
    monkeypatch.setattr(cluster_rolling, "POLL_S", 0.001)
    seen: list[dict[str, Any]] = [{"state": "suspect"}, {"state": "suspect"}, {"awaited_hints": 3}]
    looks = iter(seen)

    async def look(settings: Settings, timeout_s: float) -> ClusterStatus:
        answering: dict[str, dict[str, Any]] = {each.id: {"pid": 7} for each in NODES}
        answering["n3"] |= next(looks, dict[str, Any]())
        machine.behind = answering
        return await Machine.look(machine, settings, timeout_s)

    monkeypatch.setattr(cluster_rolling, "ask_status", look)
    restart()
    assert [step for step in machine.done if step.startswith("start")] == ["start n2", "start n3", "start n1"]


def test_force_restarts_a_cluster_in_which_nobody_answers_in_the_order_of_its_nodes(machine: Machine) -> None:
    machine.is_silent = True
    with pytest.raises(Unavailable, match="no member answers"):
        restart()
    assert machine.done == []
    restart(is_forced=True)
    assert [step for step in machine.done if step.startswith("stop")] == ["stop n1", "stop n2", "stop n3"]


def test_force_does_nothing_without_rolling(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "restart", "n1", "--force"]) == 2
    assert "--force needs --rolling" in capsys.readouterr().err


@pytest.mark.parametrize("ends", [True, False])
def test_before_each_node_jobs_may_end_for_a_bounded_time(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: bool
) -> None:
    opened: list[Settings] = []

    def open_client(settings: Settings) -> nullcontext[None]:
        opened.append(settings)
        return nullcontext()

    async def running_jobs(db: object) -> list[str]:
        machine.done.append("ask")
        return [] if ends and machine.done.count("ask") % 2 == 0 else ["words-1"]

    monkeypatch.setattr(cluster_rolling, "open_client", open_client)
    monkeypatch.setattr(cluster_rolling, "running_jobs", running_jobs)
    monkeypatch.setattr(cluster_rolling, "LOOK_S", 0.001)
    within_s = 60.0 if ends else 0.0001
    asyncio.run(restart_rolling(Settings(), ["n2", "n3"], is_forced=False, jobs_within_s=within_s))
    assert [step for step in machine.done if step != "ask"] == ["stop n2", "start n2", "stop n3", "start n3"]
    assert len(opened) == 2, "one client for all looks before a node"
    if ends:
        assert machine.done.index("stop n2") == 2 and machine.done.count("ask") == 4
    told = capsys.readouterr().err
    assert ("n2: words-1 not over after 0.0001 s; some maps run again" in told) is not ends


def test_jobs_are_waited_for_in_a_rolling_restart_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "restart", "n1", "--jobs-within", "5s"]) == 2
    assert "--jobs-within needs --rolling" in capsys.readouterr().err
