"""`ringmill job logs` shows once what many attempts have printed alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from ringmill.client.cli.jobs import job_read
from ringmill.client.cli.main import main
from ringmill.client.jobs.job_values import TaskLog

FAILED = "UserError: KeyError: 'city' at record 17"
LOGS = (
    TaskLog("map-0", 1, "n2", FAILED, b"reading\nbad row\n"),
    TaskLog("map-1", 1, "n3", "", b"reading\n"),
    TaskLog("map-0", 2, "n1", FAILED, b"reading\nbad row\n"),
    TaskLog("map-2", 1, "n1", "", b"reading\n"),
    TaskLog("map-3", 1, "n1", FAILED, b"reading\n"),
    TaskLog("map-0", 3, "n3", FAILED, b"reading\nbad row\n"),
)


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    async def logs(job: str, *, task: str) -> tuple[TaskLog, ...]:
        return tuple(one for one in LOGS if task in ("", one.task))

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(jobs=SimpleNamespace(logs=logs))

    monkeypatch.setattr(job_read, "open_client", opened)


def shown(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    assert main(["job", "logs", "job-1", *flags]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_printed_the_same_and_ended_alike_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == [
        f"3 attempts, first: map-0 attempt 1 on n2  {FAILED}", "  reading", "  bad row",
        "2 attempts, first: map-1 attempt 1 on n3", "  reading",
        f"map-3 attempt 1 on n1  {FAILED}", "  reading",
    ]  # fmt: skip


def test_each_attempt_is_shown_for_one_task_for_all_and_to_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    headers = [line for line in shown(capsys, "--all") if not line.startswith("  ")]
    assert len(headers) == len(LOGS)
    assert len(shown(capsys, "--task", "map-0")) == 9
    assert len(json.loads("\n".join(shown(capsys, "-o", "json")))) == len(LOGS)
