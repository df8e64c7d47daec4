"""How a status is shown: what this machine knows of paused nodes, and words for people."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.cli.cluster import cluster_status, status_view
from ringmill.client.cli.console.output import span
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.main import main
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode

NODES = tuple(LocalNode(f"n{number}", f"127.0.0.1:{7100 + number}", "") for number in (1, 2, 3))
CLUSTER = LocalCluster("nc", "/nowhere", 3, 256, NODES)


def seen(health: str, *states: str, reasons: tuple[str, ...] = ()) -> ClusterStatus:
    nodes = tuple(
        NodeStatus(node.id, node.address, state, "up", 256) for node, state in zip(NODES, states, strict=True)
    )
    return ClusterStatus("nc", 1, 3, health, reasons, "n1", Ranges(256, 0, 0), nodes)


@pytest.fixture
def second_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "node_state", lambda node: "paused" if node.id == "n2" else "running")


@pytest.mark.usefixtures("second_is_paused")
def test_a_paused_node_is_called_so_and_resume_is_the_hint() -> None:
    told = seen("degraded", "up", "down", "down", reasons=("n2 is down", "n3 is down", "2 partitions"))
    shown = status_view.with_paused(told, CLUSTER)
    assert [node.state for node in shown.nodes] == ["up", "paused", "down"]
    assert shown.reasons == ("n2 is paused", "n3 is down", "2 partitions")
    assert status_view.next_commands(shown) == [
        "ringmill cluster resume n2", "ringmill cluster restart n3",
    ]  # fmt: skip


@pytest.mark.usefixtures("second_is_paused")
def test_a_cluster_with_a_node_paused_just_now_is_not_healthy() -> None:
    shown = status_view.with_paused(seen("ok", "up", "up", "up"), CLUSTER)
    assert (shown.health, shown.reasons) == ("degraded", ("n2 is paused",))


@pytest.mark.parametrize(("target", "looks"), [("healthy", 1), ("settled", 2)])
def test_moves_are_waited_for_by_settled_alone(
    target: str, looks: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = seen("ok", "up", "up", "up")
    left = [replace(told, moving=3), told]

    async def look(settings: Settings, timeout_s: float) -> ClusterStatus:
        return left.pop(0)

    monkeypatch.setattr(cluster_status, "ask_status", look)
    monkeypatch.setattr(cluster_status, "POLL_S", 0.0)
    assert main(["cluster", "status", "--wait", target, "--endpoints", "127.0.0.1:7101"]) == 0
    assert len(left) == 2 - looks
    waited = "3 partitions move, or wait for that" in capsys.readouterr().err.partition("left: ")[2]
    assert waited is (target == "settled")


def test_nothing_is_added_for_a_cluster_that_is_not_of_this_machine() -> None:
    told = seen("ok", "up", "up", "up")
    assert status_view.with_paused(told, None) is told


def test_a_node_that_did_not_answer_has_empty_figures(capsys: pytest.CaptureFixture[str]) -> None:
    status_view.show_status(Settings(), seen("degraded", "up", "up", "down", reasons=("n3 is down",)), None)
    told = capsys.readouterr()
    assert told.out.splitlines()[2] == "n3\tdown\t127.0.0.1:7103\t\t256\t\t\t\t"
    assert told.err.splitlines()[1] == "  n3 is down"


def test_zones_have_a_column_behind_the_others_where_there_are_several(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = seen("ok", "up", "up", "up")
    for zones, last in ((("a", "a", "a"), ["", "", ""]), (("a", "b", "b"), ["a", "b", "b"])):
        nodes = tuple(replace(node, zone=zone) for node, zone in zip(told.nodes, zones, strict=True))
        status_view.show_status(Settings(), replace(told, nodes=nodes), None)
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [row[9:] for row in rows] == [[zone] if zone else [] for zone in last]


def test_the_json_counts_partitions_by_their_name_and_by_that_of_earlier_releases(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = replace(seen("ok", "up", "up", "up"), ranges=Ranges(250, 5, 1))
    status_view.show_status(Settings(output="json"), told, None)
    document = json.loads(capsys.readouterr().out)
    assert document["partitions"] == {"ok": 250, "under_replicated": 5, "no_quorum": 1}
    assert document["ranges"] == document["partitions"]


def test_what_the_engine_of_a_node_does_is_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = seen("ok", "up", "up", "up")
    first = replace(told.nodes[0], engine={"stalled_writes": 3}, engine_failure="flush: no space")
    status_view.show_status(Settings(output="json"), replace(told, nodes=(first, *told.nodes[1:])), None)
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert [node["engine"] for node in nodes] == [{"stalled_writes": 3}, {}, {}]
    assert [node["engine_failure"] for node in nodes] == ["flush: no space", "", ""]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0 s"), (59, "59 s"), (847, "14 m 7 s"), (7500, "2 h 5 m"), (3 * 86400 + 4 * 3600, "3 d 4 h")],
)
def test_a_span_is_its_two_largest_units(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


def test_nodes_that_contain_tasks_alike_are_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    told = seen("ok", "up", "up", "up")
    levels = ("landlock 7 + seccomp", "off", "landlock 7 + seccomp")
    mixed = replace(told, nodes=tuple(map(_with_level, told.nodes, levels)))
    alike = replace(told, nodes=tuple(_with_level(node, "seccomp, AS ROOT") for node in told.nodes))
    for shown, wanted in (
        (mixed, "  jobs are contained by: landlock 7 + seccomp on n1,n3; off on n2"),
        (alike, "  jobs are contained by: seccomp, AS ROOT"),
    ):
        status_view.show_status(Settings(), shown, None)
        assert capsys.readouterr().err.splitlines()[-1] == wanted


def _with_level(node: NodeStatus, level: str) -> NodeStatus:
    return replace(node, containment=level)


def test_nodes_that_have_yet_to_remove_a_dropped_keyspace_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = seen("ok", "up", "up", "up")
    first = replace(
        told.nodes[0], removing="2 partitions are looked through for what dropped keyspaces have left"
    )
    shown = replace(told, nodes=(first, *told.nodes[1:]))
    status_view.show_status(Settings(), shown, CLUSTER)
    assert "n1: 2 partitions are looked through for what dropped keyspaces" in "".join(capsys.readouterr())
