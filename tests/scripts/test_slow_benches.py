"""What benchmarks of killed and stopped nodes make of a verb that fails, and of a kill that hit nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from report import Report
from ringmill.client.local import local_cluster
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from slow import killed_worker, paused_verbs
from slow.pacing import stopped_in_turns
from slow.waiting import Setup

HERE = Path("input.txt")
CLUSTER: Any = SimpleNamespace(endpoints="", folder=Path("cluster"), pids=[1, 2, 3])


def ran(name: str, node: str, began_s: float, *, counts: bool = True) -> AttemptSummary:
    task, _, number = name.partition(".")
    return AttemptSummary(
        task=task, attempt=int(number), node=node, state="done" if counts else "lost", counts=counts,
        began_s=began_s, ended_s=None,
    )  # fmt: skip


class Jobs:
    """The jobs of a client: one, whose map runs at n2 and whose coordinator is n1."""

    def __init__(self, *attempts: AttemptSummary) -> None:
        self.ran = attempts

    async def submit(self, target: str, **settings: object) -> str:
        return "job-1"

    async def status(self, job: str) -> Any:
        return SimpleNamespace(
            node="n1", tasks=[SimpleNamespace(task="map-0", node="n2", state="running")], seconds=9.0,
            submitted_at=0.0, raise_unless_succeeded=lambda: None,
        )  # fmt: skip

    async def watch(self, job: str) -> AsyncIterator[Any]:
        yield await self.status(job)

    async def attempts(self, job: str) -> tuple[AttemptSummary, ...]:
        return self.ran

    async def list(self) -> list[Any]:
        return []


class Client:
    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    async def get(self, key: str, default: object) -> object:
        return default

    async def status(self) -> Any:
        return SimpleNamespace(nodes=[])


async def took(monkeypatch: pytest.MonkeyPatch, *attempts: AttemptSummary) -> killed_worker.Took | None:
    """Of a job whose node n2 is killed after 5 s."""
    monkeypatch.setattr(killed_worker, "time", SimpleNamespace(time=lambda: 5.0))
    db: Any = Client(Jobs(*attempts))
    return await killed_worker.took(db, HERE, lambda node: None, 0.0)


async def test_what_a_kill_costs_is_what_was_lost_and_the_time_until_it_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = ran("map-0.1", "n2", 4.0, counts=False)
    found = await took(monkeypatch, lost, ran("map-0.2", "n3", 5.5), ran("map-1.1", "n1", 5.1))
    assert found == (9.0, 1.0, 0.5)
    assert await took(monkeypatch, ran("map-0.1", "n2", 4.0)) is None, "it was over before"


async def test_a_backup_that_had_begun_before_the_kill_does_not_begin_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost, backup = ran("map-0.1", "n2", 1.0, counts=False), ran("map-0.2", "n3", 4.5)
    assert await took(monkeypatch, lost, backup) is None
    again = ran("map-0.3", "n4", 6.0, counts=False)
    assert await took(monkeypatch, lost, backup, again) == (9.0, 4.0, 1.0)


async def test_a_goal_is_missed_where_no_kill_has_hit_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(killed_worker, "took", nothing)
    monkeypatch.setattr(killed_worker, "read_token", lambda folder: "")
    monkeypatch.setattr(killed_worker, "connect", connected)
    report = Report("killed-worker", {})
    await killed_worker.measured(CLUSTER, Setup(3, 4, 1, HERE, report))
    assert [row["case"] for row in report.rows] == ["a task process", "a node"]
    assert [row["times"] for row in report.rows] == [0, 0]
    assert [note.partition(",")[0] for note in report.notes] == [
        "goal missed: a task process",
        "goal missed: a node",
    ]


@asynccontextmanager
async def connected(*_: object, **settings: object) -> AsyncIterator[Client]:
    yield Client(Jobs())


def test_what_is_stopped_in_turns_runs_in_the_end() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        seen = psutil.Process(process.pid)
        with stopped_in_turns(lambda: [seen], 0.05, 0.05):
            for is_stopped in (True, False, True):
                while (seen.status() == psutil.STATUS_STOPPED) != is_stopped:
                    time.sleep(0.001)
        assert seen.status() != psutil.STATUS_STOPPED
        process.kill()


async def test_a_verb_that_fails_fast_has_no_time_and_misses_its_goal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []

    async def refused(db: Any, job: str, path: Path) -> None:
        if stopped == ["n2"]:
            raise Unavailable("it is away")

    def signalled(node: Any, number: signal.Signals) -> None:
        stopped[:] = [node.id] if number == signal.SIGSTOP else []

    nodes = {name: SimpleNamespace(id=name) for name in ("n1", "n2", "n3")}
    local = SimpleNamespace(nodes=nodes.values(), node=nodes.__getitem__)
    monkeypatch.setattr(paused_verbs, "VERBS", {"list": refused})
    monkeypatch.setattr(paused_verbs, "connect", connected)
    monkeypatch.setattr(paused_verbs, "read_token", lambda folder: "")
    monkeypatch.setattr(paused_verbs, "load_cluster", lambda folder: local)
    monkeypatch.setattr(local_cluster, "signal_node", signalled)
    report = Report("paused-verbs", {})
    await paused_verbs.measured(CLUSTER, Setup(3, 4, 2, HERE, report))
    [row], [note] = report.rows, report.notes
    assert row["failed"] == 2 and row["paused_node_s"] is None and row["longest_s"] is None
    assert isinstance(row["at_rest_s"], float) and isinstance(row["longest_coordinator_s"], float)
    assert note.startswith("goal missed: list beside a paused node")
