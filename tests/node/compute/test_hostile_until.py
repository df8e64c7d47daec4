"""The code that a job brings to judge its rounds has the limits of an attempt, with all that it starts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringmill.cluster.adapters.processes.process_table import children_of
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import JobFailed
from ringmill.cluster.mapreduce.api.bundle import build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.node_options import TASK_LIMITS

SOURCE = b"""
import os, time
from collections.abc import Iterator
from ringmill import FileInput, RoundResult, Sum, iterate, job, pipeline

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield line, 1

def kept(word: str, count: int) -> Iterator[tuple[str, int]]:
    yield word, count

def greedy(result: RoundResult) -> bool:
    children, mib = map(int, result.params["takes"].split("x"))
    for _ in range(children):
        if not os.fork():
            block = b"x" * (mib << 20)
            time.sleep(60)
    time.sleep(60)

judged = job(map=kept, reduce=Sum(), input=FileInput("records"), params={"takes": ""})
whole = pipeline(job(map=words, reduce=Sum()), iterate(judged, max=2, until=greedy))
"""


@pytest.mark.parametrize(
    ("takes", "cause", "told"),
    [
        ("30x0", Cause.KILLED, r"at least \d+ processes at once, the limit is 20"),
        ("2x160", Cause.OUT_OF_MEMORY, r"used \d+ MiB of memory.*, the limit is 300 MiB"),
    ],
)
async def test_what_judges_a_round_is_ended_with_all_that_it_started_once(
    tmp_path: Path, takes: str, cause: Cause, told: str
) -> None:
    code = build_bundle("greedy", {"greedy.py": SOURCE}.get)
    (tmp_path / "code").write_bytes(code.data)
    spec = JobSpec(
        job="j-1", module="greedy", name="whole.1", bundle_sha256=code.sha256, inputs=("/in",), output="/out",
        input_format="records", output_format="records", reducers=1, params={"takes": takes},
        task_memory_mib=300,
    )  # fmt: skip
    processes = TaskProcesses()
    try:
        runner = JobStepRunner(processes, limits={**TASK_LIMITS, "processes": 20})
        with pytest.raises(JobFailed, match=told) as failed:
            await runner.is_last_round(spec, str(tmp_path / "code"), 1, {})
        assert failed.value.detail["cause"] == cause
        assert processes._last_id == 1, "it is not tried again"
        for _look in range(1000):  # until the last of them is buried
            if not children_of(processes.forkserver_pid or 0):
                break
            await asyncio.sleep(0.01)
        assert not children_of(processes.forkserver_pid or 0)
    finally:
        await processes.close()
