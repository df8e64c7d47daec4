"""A job whose coordinator is moved, then killed in the middle of it, at five real processes."""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ringmill
from tests.e2e.cli.conftest import PARTITIONS, Shell, cluster_of_five

FILES = 15
PATIENT_S = 60.0
JOB = """
import os
import time
from collections.abc import Iterable, Iterator
from ringmill import FileInput, job, pipeline

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    if offset == 0:
        with open({log!r}, "a") as log:
            log.write(line + "\\n")
        time.sleep({seconds})
    yield line[:9], 1

def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)

def held(word: str, count: int) -> Iterator[tuple[str, int]]:
    while not os.path.exists({go!r}):
        time.sleep(0.05)
    yield word, count

slow = job(map=words, reduce=total)
chain = pipeline(slow, job(map=held, reduce=total, input=FileInput("records"), reducers=2))
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The tasks here note what they do in one file for all, which contained ones cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RINGMILL_CONTAINMENT", "off")
        with cluster_of_five(tmp_path_factory, "--partitions", str(PARTITIONS)) as shell:
            yield shell


def write_job(shell: Shell, name: str, seconds: float) -> Path:
    log = shell.folder / f"{name}.log"
    (shell.folder / f"{name}.py").write_text(
        JOB.format(log=str(log), seconds=seconds, go=str(shell.folder / "go"))
    )
    return log


def write_files(shell: Shell) -> None:
    """Each is a split, as two have more than a mebibyte, and is named by its first line."""
    (shell.folder / "in").mkdir()
    for number in range(FILES):
        (shell.folder / "in" / f"{number:02}.txt").write_text(f"file {number}\n" + f"{'x' * 99_999}\n" * 6)


def run_alone(shell: Shell, target: str = "slow") -> dict[str, bytes]:
    write_job(shell, "alone", 0)
    found = importlib.util.spec_from_file_location("alone", shell.folder / "alone.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    ringmill.run_local(getattr(module, target), f"{shell.folder}/in/*.txt", f"{shell.folder}/{target}-alone")
    return shell.files_in(f"{target}-alone")


def done_maps(shell: Shell, job: str) -> dict[int, str]:
    """Maps that are told as done, with the node of each."""
    told: list[dict[str, Any]] = shell.ok("job", "status", job, "--tasks", "-o", "json").json["task_list"]
    return {int(one["task"][4:]): one["node"] for one in told
            if one["task"].startswith("map") and one["state"] == "done"}  # fmt: skip


def events(shell: Shell, job: str) -> list[str]:
    told: list[str] = shell.ok("job", "status", job, "-o", "json").json["events"]
    return told


def test_a_job_outlives_its_coordinator_and_no_finished_task_runs_again(shell: Shell) -> None:
    write_files(shell)
    log = write_job(shell, "slow", 0.7)
    run = (
        "job",
        "run",
        "slow.py:slow",
        "--input",
        "in/*.txt",
        "--output",
        "out",
        "--split-mib",
        "1",
        "--detach",
    )
    job = shell.ok(*run, "-o", "json").json["job"]
    moved = shell.ok("coordinator", "handover", "-o", "json").json
    assert moved["node"] != "n1" and moved["open_jobs"] == [job], "n1 is the first to take a job"
    ends_at = time.monotonic() + PATIENT_S
    while len(done := done_maps(shell, job)) < 5:
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    shell.ok("cluster", "pause", moved["node"])
    told = shell.ok("job", "status", job, "-o", "json")  # at once: another one coordinates after some 5 s
    assert told.json["state"] == "RUNNING" and len(told.json["task_list"]) > FILES
    assert told.json["node"] == "" and "this is what the journal of the job has" in told.err
    shell.ok("cluster", "kill", moved["node"])
    listed = shell.ok("job", "list")  # mostly before another one coordinates
    assert job in listed.out.decode()
    assert (b"OPEN" in listed.out) == ("no coordinator of these jobs answers" in listed.err)
    followed = shell.ok("job", "follow", job, "-o", "json").json
    assert followed["state"] == "SUCCEEDED"
    assert followed["node"] != moved["node"]
    story = events(shell, job)
    ran = Counter(log.read_text().splitlines())
    kept = [task for task, node in done.items() if node != moved["node"]]
    assert kept and {ran[f"file {task}"] for task in kept} == {1}, "\n".join([str(done), *story])
    assert shell.files_in("out") == run_alone(shell)
    state = shell.ok("coordinator", "status", "-o", "json").json
    assert (state["node"], state["open_jobs"]) == (followed["node"], [])
    assert state["term"] > moved["term"]
    shell.ok("cluster", "restart", moved["node"])  # two dead nodes may be a majority of the lease's owners
    a_chain_outlives_the_next_coordinator(shell, state["node"])


def a_chain_outlives_the_next_coordinator(shell: Shell, keeper: str) -> None:
    """It is killed when the first stage is over, and no task of that stage runs again."""
    log = write_job(shell, "chained", 0)
    run = ("job", "run", "chained.py:chain", "--input", "in/*.txt", "--output", "chained", "--detach")
    job = shell.ok(*run, "-o", "json").json["job"]
    ends_at = time.monotonic() + PATIENT_S
    while "stage 1 (job 1 of 2) is over" not in "\n".join(events(shell, job)):
        assert time.monotonic() < ends_at
        time.sleep(0.1)
    first = log.read_text()
    shell.ok("cluster", "kill", keeper)
    (shell.folder / "go").touch()
    followed = shell.ok("job", "follow", job, "-o", "json").json
    assert followed["state"] == "SUCCEEDED" and followed["node"] != keeper
    assert log.read_text() == first, "\n".join(events(shell, job))
    assert shell.files_in("chained") == run_alone(shell, "chain")
    assert [each.name for each in shell.folder.glob(".chained*")] == []
