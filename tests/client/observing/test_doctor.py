"""Each check of `ringmill doctor` finds what it is for, says whom it concerns, and what to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.administration.moves_view import MovesView
from ringmill.client.administration.node_metrics import NodeMetrics
from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.main import main
from ringmill.client.cli.observing import doctor_verb
from ringmill.client.connection import AsyncClient
from ringmill.client.doctor import cluster_facts
from ringmill.client.doctor.cluster_checks import check_cluster
from ringmill.client.doctor.cluster_facts import ClusterFacts
from ringmill.client.doctor.finding import Finding, is_wrong
from ringmill.client.doctor.machine_checks import MachineFacts, check_machine
from ringmill.client.jobs.job_values import CoordinatorState
from ringmill.cluster.wire.stubs.membership_pb2 import MetricSample
from tests.client.observing.typed_commands import check_commands

NOW_S = 1_800_000_000.0
GIB = 1 << 30
COMPLETE = Ranges(8, 0, 0)


def told(node: str, version: str = "1.0", code: str = "c0de", **figures: float) -> NodeMetrics:
    values = {"disk_free_bytes": 50.0 * GIB, "clock_offset_seconds": 0.001, **figures}
    families: dict[str, Sequence[MetricSample]] = {
        name: [MetricSample(value=value)] for name, value in values.items()
    }
    build = MetricSample(labels={"version": version, "python": "3.11.7", "code": code}, value=1)
    return NodeMetrics(node, 1.0, {**families, "build": [build]})


def node(name: str, **fields: Any) -> NodeStatus:
    return replace(
        NodeStatus(name, f"h:{name}", "up", "up", 4, uptime_s=9.0, epoch=2, containment="landlock 7"),
        **fields,
    )


def facts(*nodes: NodeStatus, ranges: Ranges = COMPLETE, **others: Any) -> ClusterFacts:
    """`metrics` are those of nodes that tell something else than the others."""
    members = nodes or (node("n1"), node("n2"))
    status = ClusterStatus("demo", 2, 3, "ok", (), "n1", ranges, members)
    moves = MovesView(2, 0, 0, False, (), {}, {}, {}, ())
    given: dict[str, Any] = {
        "metrics": {each.id: told(each.id) for each in members if each.uptime_s is not None},
        "moves": moves,
        "coordinator": CoordinatorState("", 0, ()),
        "version": "1.0",
        "code": "c0de",
    }
    if others.get("metrics"):
        others["metrics"] = {**given["metrics"], **others["metrics"]}
    return ClusterFacts(status=status, **{**given, **others})


def unwell(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Each with a remedy whose commands exist."""
    found = {each.check: each for each in findings if each.verdict != "ok"}
    assert all(each.remedy for each in found.values())
    for each in found.values():
        check_commands(each.remedy)
    return found


def checked(given: ClusterFacts) -> dict[str, Finding]:
    return unwell(list(check_cluster(given, NOW_S)))


def test_a_cluster_that_is_well_has_nothing_to_be_told() -> None:
    assert checked(facts()) == {}


@pytest.mark.parametrize(
    ("given", "check", "verdict", "names", "remedy"),
    [
        (facts(node("n1"), node("n2", state="down", uptime_s=None)), "nodes", "wrong", "n2",
         "ringmill cluster restart n2"),
        (facts(node("n1"), node("n2", state="slow")), "nodes", "warning", "n2 is slow", "status"),
        (facts(node("n1"), node("n2", epoch=1)), "epoch", "warning", "n2 is at epoch 1", "log"),
        (facts(metrics={"n1": told("n1"), "n2": told("n2", "0.9")}), "versions", "warning",
         "n2 runs 0.9, this client 1.0", "restart --rolling"),
        (facts(metrics={"n1": told("n1"), "n2": told("n2", code="c0ffee")}), "versions", "warning",
         "n2 runs other code of 1.0 (c0ffee) than this machine has (c0de)", "restart --rolling"),
        (facts(metrics={"n1": told("n1"), "n2": told("n2", code="")}), "versions", "warning",
         "n2 runs other code of 1.0 (untold)", "restart --rolling"),
        (facts(ranges=Ranges(6, 2, 0)), "partitions", "warning", "2 partitions lack", "start"),
        (facts(ranges=Ranges(6, 0, 2)), "partitions", "wrong", "2 partitions have no quorum", "start"),
        (facts(metrics={"n1": told("n1", clock_offset_seconds=-0.3)}), "clocks", "warning", "n1 is -0.30 s",
         "NTP"),
        (facts(metrics={"n1": told("n1", clock_offset_seconds=7.0)}), "clocks", "wrong", "n1 is +7.00 s",
         "NTP"),
        (facts(metrics={"n1": told("n1", disk_free_bytes=GIB / 2)}), "disks", "wrong", "n1 has 512 MiB",
         "free some space"),
        (facts(metrics={"n1": told("n1", disk_free_bytes=2 * GIB, memtable_bytes=3 * GIB)}), "disks",
         "warning", "its data takes 3.0 GiB", "add nodes"),
        (facts(metrics={"n1": told("n1", read_only=1, store_failed=1)}), "stores", "wrong",
         "the log of n1 failed", "ringmill cluster restart n1"),
        (facts(metrics={"n1": told("n1", read_only=1)}), "stores", "wrong", "n1 takes no writes", "space"),
        (facts(node("n1", engine_failure="flush: no space")), "stores", "wrong", "n1: flush: no space",
         "space"),
        (facts(node("n1", damaged_ranges=3)), "stores", "warning", "3 key ranges of n1", "repair status"),
        (facts(metrics={"n1": told("n1", compaction_waiting_tables=9)}), "compaction", "warning",
         "9 tables of n1", "cluster add"),
        (facts(node("n1"), node("n2", awaited_hints=4), metrics={"n1": told("n1", hint_oldest_seconds=7200)}),
         "hints", "warning", "n1 have waited for 120 minutes", "bring back n2"),
        (facts(moves=MovesView(2, 3, 1, False, ("n4",), {}, {7: "n3 is down"}, {}, ())), "moves", "warning",
         "partition 7: n3 is down", "cluster moves"),
        (facts(moves=MovesView(2, 3, 1, True, ("n4",), {}, {}, {}, ())), "moves", "warning", "paused",
         "--resume"),
        (facts(coordinator=CoordinatorState("", 3, ("j1", "j2"))), "jobs", "wrong", "2 jobs are open",
         "coordinator status"),
        (facts(node("n1", containment="landlock 7, AS ROOT")), "containment", "warning", "n1", "user"),
        (facts(node("n1", containment="rlimits only")), "containment", "warning", "rlimits only", "kernel"),
        (facts(metrics={"n1": told("n1", overload_step=3)}), "overload", "warning", "n1 leaves things off",
         "ringmill top"),
        (facts(has_tls=True, has_token=False), "access", "wrong", "without a token", "--token-file"),
        (facts(metrics={"n1": told("n1", accepted_secrets=1), "n2": told("n2", accepted_secrets=2)}),
         "secret", "warning", "n2 accept two secrets", "auth rotate-secret --finish"),
        (facts(metrics={"n1": told("n1", comparison_pass_timestamp_seconds=NOW_S - 7300)}), "comparing",
         "warning", "n1 has not compared all its copies for 122 minutes", "repair status"),
        (facts(metrics={"n2": told("n2", copy_sums_wrong_total=2)}), "comparing", "warning",
         "n2 had wrong sums of 2 copies", "repair status"),
        (facts(metrics={"n1": told("n1", stale_refused_timestamp_seconds=NOW_S - 600, stale_refused_total=3),
                        "n2": told("n2", stale_refused_timestamp_seconds=NOW_S - 3700)}), "deletes",
         "warning", "n1 has refused 3 versions that were deleted and forgotten, the last one 10 minutes ago",
         "repair status"),
    ],
)  # fmt: skip
def test_a_check_names_what_is_amiss(
    given: ClusterFacts, check: str, verdict: str, names: str, remedy: str
) -> None:
    found = checked(given)
    assert list(found) == [check]
    assert (found[check].verdict, is_wrong(found.values())) == (verdict, verdict == "wrong")
    assert names in found[check].told and remedy in found[check].remedy


def test_what_a_client_may_not_ask_is_said_and_not_taken_for_well() -> None:
    refused = {
        "metrics": "needs the role read",
        "moves": "needs the role read",
        "jobs": "needs the role jobs",
    }
    given = facts(metrics={}, moves=None, coordinator=None, refused=refused)
    found = {each.check: each for each in check_cluster(given, NOW_S) if each.verdict != "ok"}
    assert {"versions", "moves", "jobs"} <= set(found)
    assert "role jobs" in found["jobs"].told and not is_wrong(found.values())


FIGURED = {
    "versions",
    "clocks",
    "disks",
    "stores",
    "compaction",
    "hints",
    "overload",
    "secret",
    "comparing",
    "deletes",
}


@pytest.mark.parametrize(
    ("told_by", "refused"), [((), {"metrics": "needs the role read"}), ((), {}), (("n1",), {})]
)
def test_what_a_member_has_not_told_is_not_well_and_the_member_is_named(
    told_by: Sequence[str], refused: dict[str, str]
) -> None:
    given = replace(facts(), metrics={name: told(name) for name in told_by}, refused=refused)
    found = checked(given)
    assert set(found) == FIGURED and not is_wrong(found.values())
    for each in found.values():
        assert "n2" in each.told and ("n1" in each.told) is not bool(told_by), each
        assert refused.get("metrics", "") in each.told
        assert "--rolling" not in each.remedy, "no release is to blame"


def test_a_disk_whose_space_the_system_cannot_tell_is_not_full() -> None:
    families = {name: each for name, each in told("n1").families.items() if name != "disk_free_bytes"}
    assert checked(facts(metrics={"n1": NodeMetrics("n1", 1.0, families)})) == {}


def test_what_is_amiss_is_reported_with_whoever_tells_nothing() -> None:
    full = {"n1": told("n1", disk_free_bytes=GIB / 2)}
    found = checked(replace(facts(), metrics=full))["disks"]
    assert found.verdict == "wrong" and "free some space" in found.remedy
    assert "n1 has 512 MiB" in found.told and "no figures of n2" in found.told


def test_nobody_is_said_to_ask_for_a_token_when_nobody_was_heard() -> None:
    given = replace(facts(), metrics={}, has_tls=True, has_token=False)
    assert checked(given)["access"].verdict == "warning"
    asked = replace(given, refused={"metrics": "a token is required"})
    assert "access" not in checked(asked)


@pytest.mark.parametrize(("every_s", "is_well"), [(3600.0, True), (2400.0, False)])
def test_a_node_that_compares_seldom_has_three_rounds(every_s: float, is_well: bool) -> None:
    figures = told("n1", comparison_pass_timestamp_seconds=NOW_S - 7300, comparison_every_seconds=every_s)
    findings = list(check_cluster(facts(metrics={"n1": figures}), NOW_S))
    (found,) = [each for each in findings if each.check == "comparing"]
    assert (found.verdict == "ok") == is_well
    assert "122 minutes" in found.told


def test_of_nodes_that_are_elsewhere_no_command_on_processes_is_named() -> None:
    """Beside a local cluster it would restart a node of that one."""
    given = facts(node("n1"), node("n2", state="down", uptime_s=None), is_local=False, version="1.1")
    found = checked(given)
    assert {"nodes", "versions"} <= set(found)
    assert not [each for each in found.values() if "cluster restart" in each.remedy]
    assert "restart n2" in checked(replace(given, is_local=True))["nodes"].remedy


def test_a_token_that_the_client_found_by_the_addresses_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes with TLS are not said to let in clients without one."""
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o700)
    (folder / "cluster.json").write_text(json.dumps({"nodes": [{"address": "127.0.0.1:7101"}]}))
    (folder / "token").write_text("secret")
    for path in folder.iterdir():
        path.chmod(0o600)
    monkeypatch.setenv("RINGMILL_HOME", str(tmp_path))
    monkeypatch.delenv("RINGMILL_TOKEN", raising=False)
    asked: list[ClusterFacts] = []

    async def ask(_: object, **given: Any) -> ClusterFacts:
        asked.append(facts(**given))
        return asked[-1]

    @asynccontextmanager
    async def unconnected(settings: Settings) -> AsyncIterator[AsyncClient]:
        yield open_client(settings)

    monkeypatch.setattr(cluster_facts, "ask_cluster", ask)
    monkeypatch.setattr(doctor_verb, "open_client", unconnected)
    main(["doctor", "--endpoints", "127.0.0.1:7101"])
    assert [(each.has_token, each.is_local) for each in asked] == [(True, False)]


MACHINE = MachineFacts(folder="x/demo", states={"n1": "running", "n2": "running"}, modes={"x/demo": 0o700})


@pytest.mark.parametrize(
    ("given", "check", "verdict", "names", "remedy"),
    [
        (replace(MACHINE, states={"n1": "running", "n2": "stopped"}, recorded={"n2": 77}), "processes",
         "wrong", "n2 does not run (recorded pid 77)", "ringmill cluster restart n2"),
        (replace(MACHINE, states={"n1": "stopped"}), "processes", "wrong", "no node", "ringmill cluster up"),
        (replace(MACHINE, states={"n1": "running", "n2": "paused"}), "processes", "wrong", "n2 is paused",
         "ringmill cluster resume n2"),
        (replace(MACHINE, takers={"n2": "pid 9 (nc -l)"}), "ports", "wrong", "pid 9 (nc -l)", "stop it"),
        (replace(MACHINE, modes={"x/demo": 0o700, "/d2/n1": 0o755}), "folders", "wrong",
         "/d2/n1 has mode 0755", "chmod -R go-rwx x/demo /d2/n1"),
        (replace(MACHINE, modes={"x/demo/token": 0o644}), "folders", "wrong", "x/demo/token has mode 0644",
         "chmod -R go-rwx x/demo"),
        (replace(MACHINE, days_left={"n1": 300, "n2": 13}), "certificates", "warning",
         "that of n2 expires in 13 days", "ca issue"),
        (replace(MACHINE, days_left={"n1": -1}), "certificates", "wrong", "that of n1 has expired",
         "ca issue"),
        (replace(MACHINE, disk_used=0.9), "disk", "warning", "90% full", "space"),
        (replace(MACHINE, disk_used=0.99), "disk", "wrong", "99% full", "space"),
        (replace(MACHINE, open_files=1024), "file limit", "warning", "1,024", "ulimit"),
    ],
)  # fmt: skip
def test_a_check_of_the_machine_names_what_is_amiss(
    given: MachineFacts, check: str, verdict: str, names: str, remedy: str
) -> None:
    found = unwell(list(check_machine(given)))
    assert list(found) == [check]
    assert found[check].verdict == verdict
    assert names in found[check].told and remedy in found[check].remedy


def test_a_machine_that_is_well_has_nothing_to_be_told() -> None:
    assert unwell(list(check_machine(replace(MACHINE, days_left={"n1": 300})))) == {}
