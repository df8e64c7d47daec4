"""`cluster up` that is refused has changed nothing, and one that failed ends only what it started."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from ringmill.client.cli.main import main
from ringmill.client.local import bringing_up, local_cluster, processes
from ringmill.client.local.local_cluster import Plan, Started
from ringmill.client.local.local_state import LocalCluster, LocalNode, load_cluster, save_cluster
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.errors import Conflict, DeadlineExceeded, InvalidArgument, RingmillError

REFUSED = {
    "partitions that are no power of two": (["--partitions", "100"], "power of two"),
    "too few partitions": (["--partitions", "8"], "--partitions is 8"),
    "too many partitions": (["--partitions", "8192"], "--partitions is 8192"),
    "more replicas than nodes": (["--nodes", "3", "--replicas", "5"], "there are 3 nodes"),
    "no nodes": (["--nodes", "0"], "--nodes"),
    "too many nodes": (["--nodes", "101"], "--nodes"),
    "no replicas": (["--replicas", "0"], "--replicas"),
    "more zones than nodes": (["--nodes", "3", "--zones", "4"], "--zones is 4"),
    "a port below those of users": (["--base-port", "80"], "port 80 is out of range"),
    "a port that the system hands out": (["--base-port", "40000"], "port 40000 is out of range"),
    "ports that run over the limit": (["--base-port", "32766"], "port 32768 is out of range"),
    "a name that leads out of the folder": (["--cluster", "../x"], "is not a name"),
    "an empty name": (["--cluster", ""], "is not a name"),
    "a name with a slash": (["--cluster", "a/b"], "is not a name"),
    "ports for metrics that the nodes have": (
        ["--base-port", "7201", "--metrics-base-port", "7201"],
        "--metrics-base-port 7201 and --base-port 7201: port 7201 is the port of node n1",
    ),
    "ports for metrics that run into those of nodes": (
        ["--base-port", "7201", "--metrics-base-port", "7199"],
        "--metrics-base-port 7199 and --base-port 7201: port 7201 is the port of node n1",
    ),
    "endpoints": (["--endpoints", "127.0.0.1:7101"], "acts on local processes"),
    "a word too many": (["n1"], "unexpected extra argument"),
    "a name that no certificate can have": (["--tls", "--cluster", "My_C"], "--cluster 'My_C' cannot stand"),
    "a carrier that shows no certificates": (["--tls", "--peer-transport", "grpc"], "nodes talk over tcp"),
    "a time that is none": (["--timeout", "soon"], "not a time span"),
}


MY_PORTS = 14_000 + os.getpid() % 1000 * 5  # where no other test starts a node


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    place = {"RINGMILL_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    with chdir(tmp_path), patch.dict(os.environ, place):
        yield tmp_path / "home"


@pytest.mark.parametrize(("arguments", "why"), REFUSED.values(), ids=REFUSED)
def test_a_refused_up_has_changed_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert main(["cluster", "up", *arguments]) == 2
    assert why in (said := capsys.readouterr().err), said
    assert os.listdir(home.parent) == []


def test_a_taken_port_has_changed_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = free_base(3, MY_PORTS)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", base + 2))
        holder.listen()
        assert main(["cluster", "up", "-n", "3", "--base-port", str(base)]) == 1
    assert f"port {base + 2} is taken" in capsys.readouterr().err
    assert os.listdir(home.parent) == []


def test_the_base_port_is_a_setting(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with patch.dict(os.environ, {"RINGMILL_BASE_PORT": "80"}):
        assert main(["cluster", "up"]) == 2
    assert "port 80 is out of range" in capsys.readouterr().err
    with patch.dict(os.environ, {"RINGMILL_BASE_PORT": "high"}):
        assert main(["cluster", "up"]) == 2
    assert "RINGMILL_BASE_PORT is 'high'" in capsys.readouterr().err


@pytest.mark.parametrize(("nodes", "owners"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_a_small_cluster_has_as_many_replicas_as_nodes(nodes: int, owners: int) -> None:
    plan = Plan(nodes=nodes, base_port=free_base(nodes, MY_PORTS))
    assert local_cluster.planned("c", "/nowhere", plan).replicas == owners


@pytest.mark.parametrize(
    "verb", ["up", "down", "kill n1", "pause n1", "resume", "restart n1", "logs", "list"]
)
def test_a_verb_on_processes_refuses_endpoints(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main(["--endpoints", "127.0.0.1:7101", "cluster", *verb.split()]) == 2
    said = capsys.readouterr().err
    assert "acts on local processes" in said
    assert "ringmill cluster " in said or "started by hand" in said
    assert not home.exists()


@pytest.mark.parametrize("verb", ["up", "down", "kill n1", "restart n1", "logs"])
def test_a_copy_of_a_cluster_under_another_name_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    node = LocalNode("n1", "127.0.0.1:1", "")
    save_cluster(LocalCluster("nc", str(home / "nc"), 1, 16, (node,)))
    shutil.copytree(home / "nc", home / "copy")
    assert main(["--cluster", "copy", "cluster", *verb.split()]) == 2
    assert "is a copy of cluster nc" in capsys.readouterr().err


def _sleeper(home: Path, name: str) -> Started:
    process = processes.spawn(
        ["-c", "import time; time.sleep(600)"], log_path=str(home / f"{name}.log"), folder=str(home)
    )
    node = LocalNode(name, "127.0.0.1:1", "", process.pid, processes.start_mark(process.pid))
    return Started(node, process)


def test_a_failed_up_ends_what_it_started_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    runs, starts = _sleeper(tmp_path, "n1"), _sleeper(tmp_path, "n2")
    stopped = LocalNode("n2", "127.0.0.1:2", "")
    save_cluster(LocalCluster("c", str(folder), 2, 16, (runs.node, stopped)))

    def start(cluster: LocalCluster, nodes: object) -> tuple[LocalCluster, list[Started]]:
        assert nodes == [stopped]
        return cluster, [starts]

    def form(*_: object) -> None:
        raise DeadlineExceeded("cluster c was not ready after 0.1 s")

    try:
        with (
            patch.object(local_cluster, "start_nodes", start),
            patch.object(bringing_up, "_form", form),
            pytest.raises(RingmillError) as caught,
        ):
            bringing_up.bring_up("c", str(folder), {}, 0.1)
        assert local_cluster.node_state(runs.node) == "running"
        assert local_cluster.node_state(starts.node) == "stopped"
        said = caught.value.detail["changed"]
        assert "n2 started and stopped again, n1 left running" in said
        assert load_cluster(str(folder)) is not None
    finally:
        for one in (runs, starts):
            one.process.kill()
            one.process.wait()


@pytest.mark.parametrize("is_disk", [True, False])
def test_an_up_leaves_its_nodes_running_when_some_are_on_other_disks(tmp_path: Path, is_disk: bool) -> None:
    folder = tmp_path / "c"
    one = _sleeper(tmp_path, "n1")
    save_cluster(LocalCluster("c", str(folder), 1, 16, (LocalNode("n1", "127.0.0.1:1", ""),)))

    def form(*_: object) -> None:
        raise Conflict("no", detail={"other_disks": ["n1"]} if is_disk else {})

    try:
        with (
            patch.object(local_cluster, "start_nodes", lambda cluster, _: (cluster, [one])),
            patch.object(bringing_up, "_form", form),
            pytest.raises(Conflict) as caught,
        ):
            bringing_up.bring_up("c", str(folder), {}, None)
        assert local_cluster.node_state(one.node) == ("running" if is_disk else "stopped")
        assert ("left running" if is_disk else "stopped again") in caught.value.detail["changed"]
    finally:
        one.process.kill()
        one.process.wait()


def test_an_up_of_nodes_that_all_run_names_those_on_other_disks_again(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    one = _sleeper(tmp_path, "n1")
    save_cluster(LocalCluster("c", str(folder), 1, 16, (one.node,)))
    errors = [DeadlineExceeded("slow"), Conflict("n1 is elsewhere", detail={"other_disks": ["n1"]})]

    def form(*_: object) -> None:
        raise errors.pop(0)

    try:
        with patch.object(bringing_up, "_form", form):
            with patch.object(bringing_up, "_are_unformed", return_value=False):
                assert bringing_up.bring_up("c", str(folder), {}, None)[1] == []
            with pytest.raises(Conflict, match="n1 is elsewhere"):
                bringing_up.bring_up("c", str(folder), {}, None)
        assert local_cluster.node_state(one.node) == "running"
    finally:
        one.process.kill()
        one.process.wait()


def test_an_up_forgets_a_node_that_is_not_a_member_any_more(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    started = [_sleeper(tmp_path, "n1"), _sleeper(tmp_path, "n2")]
    nodes = tuple(LocalNode(name, f"127.0.0.1:{at}", "") for at, name in enumerate(("n1", "n2"), 1))
    save_cluster(LocalCluster("c", str(folder), 1, 16, nodes))
    formed: list[list[str]] = []

    def form(cluster: LocalCluster, *_: object) -> None:
        formed.append([node.id for node in cluster.nodes])
        if len(formed) == 1:
            raise InvalidArgument("cluster c does not name n2", detail={"strangers": ["n2"]})

    with (
        patch.object(local_cluster, "start_nodes", lambda cluster, _: (cluster, started)),
        patch.object(bringing_up, "_form", form),
    ):
        _, fresh = bringing_up.bring_up("c", str(folder), {}, None)
    assert formed == [["n1", "n2"], ["n1"]] and fresh == ["n1"]
    kept = load_cluster(str(folder))
    assert kept is not None and [node.id for node in kept.nodes] == ["n1"]
    assert started[0].process.poll() is None and started[1].process.wait(10) is not None
    local_cluster.stop_nodes([started[0].node])


def test_an_up_beside_a_running_node_that_is_not_a_member_brings_the_others_back(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    runs, starts = _sleeper(tmp_path, "n1"), _sleeper(tmp_path, "n2")
    save_cluster(LocalCluster("c", str(folder), 1, 16, (runs.node, LocalNode("n2", "127.0.0.1:2", ""))))
    formed: list[list[str]] = []
    told: list[str] = []

    def form(cluster: LocalCluster, *_: object) -> None:
        formed.append([node.id for node in cluster.nodes])
        if "n1" in formed[-1]:
            raise InvalidArgument("cluster c does not name n1", detail={"strangers": ["n1"]})

    def start(cluster: LocalCluster, nodes: object) -> tuple[LocalCluster, list[Started]]:
        changed = cluster.with_node(starts.node)
        save_cluster(changed)
        return changed, [starts]

    try:
        with (
            patch.object(local_cluster, "start_nodes", start),
            patch.object(bringing_up, "_form", form),
        ):
            for fresh in (["n2"], []):  # the second time all run
                assert bringing_up.bring_up("c", str(folder), {}, None, tell=told.append)[1] == fresh
        assert formed == [["n1", "n2"], ["n2"]] * 2
        assert len(told) == 2 and all("n1: running, and no member of cluster c" in each for each in told)
        assert local_cluster.node_state(runs.node) == local_cluster.node_state(starts.node) == "running"
        kept = load_cluster(str(folder))
        assert kept is not None and len(kept.nodes) == 2, "its process is still known"
    finally:
        for one in (runs, starts):
            one.process.kill()
            one.process.wait()


def test_an_up_after_one_that_was_killed_forms_what_runs_in_its_own_time(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    one = _sleeper(tmp_path, "n1")
    node = replace(one.node, address=f"127.0.0.1:{free_base(1, MY_PORTS)}")  # where nobody answers yet
    save_cluster(LocalCluster("c", str(folder), 1, 16, (node,)))
    times: list[float] = []

    def form(_cluster: LocalCluster, _started: object, timeout_s: float) -> None:
        times.append(timeout_s)
        raise DeadlineExceeded(f"cluster c was not ready after {timeout_s} s")

    try:
        with (
            patch.object(bringing_up, "_form", form),
            patch.object(bringing_up, "CHECK_S", 0.05),
            pytest.raises(DeadlineExceeded, match="not ready after 7 s"),
        ):
            bringing_up.bring_up("c", str(folder), {}, 7)
        assert times == [0.05, 7]
        assert local_cluster.node_state(one.node) == "running"
    finally:
        one.process.kill()
        one.process.wait()
