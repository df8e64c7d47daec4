"""The tour's second part: count the words of real text, with the job's coordinator killed in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import sysconfig
import time
from contextlib import closing
from pathlib import Path

from ringmill.client.cli.demo.demo_story import Story
from ringmill.client.cli.jobs.job_progress import shown_progress
from ringmill.client.connection import AsyncClient
from ringmill.client.jobs.job_modules import load_job_module
from ringmill.client.jobs.job_values import JobState
from ringmill.client.jobs.run_local import run_local
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import NotFound

__all__ = ["count_words"]

MODULE = Path(__file__).absolute().parents[__name__.count(".") - 1] / "examples" / "wordcount.py"
PACKAGES = ("asyncio", "collections", "concurrent", "email", "http", "importlib", "json", "unittest", "xml")


async def count_words(story: Story, db: AsyncClient, cluster: LocalCluster, folder: str) -> None:
    """Run the job on the cluster, with a kill, and in this process; the output bytes must be equal."""
    story.chapter("Count the words of the Python standard library, and kill the job's coordinator")
    if not MODULE.exists():
        raise NotFound(f"{MODULE} is missing", hint="the tour runs a job of the examples")
    target, inputs = f"{MODULE}:wordcount", sources()
    output = os.path.join(folder, "words")
    story.tell(f"ringmill job run examples/wordcount.py:wordcount --input {inputs[0]} … --output words")
    state, killed, took_s = await _run_and_kill(story, db, cluster, target, inputs, output)
    claim = "the node that coordinates the job was killed after a map on it had committed"
    story.check(claim, ok=bool(killed), seen=killed)
    claim = "another node went on with the job"
    if took_s is None:
        story.check(claim, ok=False, seen="no other node told of it")
    else:
        story.timed(claim, took_s, goal_s=15.0, limit_s=60.0)
    story.check(
        "the job succeeded all the same",
        ok=state.state == "SUCCEEDED",
        seen=f"{state.seconds:.1f} s, {state.stage('map').total} maps, {state.retried} tasks run again",
    )
    begun = time.perf_counter()
    reference = os.path.join(folder, "words-local")
    with closing(OsFileSystem()) as files:
        definition = load_job_module(target, files, os.getcwd()).definition
    await asyncio.to_thread(run_local, definition, inputs, reference)
    story.tell(f"the same job in this process: {time.perf_counter() - begun:.1f} s")
    parts = _parts(reference)
    differing = [
        name for name in sorted(parts | _parts(output)) if _read(output, name) != _read(reference, name)
    ]
    words = sum(data.count(b"\n") for data in (_read(output, name) or b"" for name in parts))
    story.check(
        "part files are equal, byte for byte, to the in-process run",
        ok=bool(parts) and not differing,
        seen=f"{len(parts)} files, {words} words" if not differing else f"differing: {', '.join(differing)}",
    )


def sources() -> list[str]:
    """Globs of the standard library's own sources on this machine."""
    root = sysconfig.get_path("stdlib")
    return [f"{root}/*.py", *(f"{root}/{name}/**/*.py" for name in PACKAGES)]


async def _run_and_kill(
    story: Story, db: AsyncClient, cluster: LocalCluster, target: str, inputs: list[str], output: str
) -> tuple[JobState, str, float | None]:
    """Submit, kill the coordinator once a map on it has committed, and follow to the end.

    The last is the seconds from the kill until another coordinator told of the job.
    """
    job = await db.jobs.submit(target, input=inputs, output=output)
    victim = killed = ""
    killed_at, took_s = 0.0, None
    with shown_progress(story.settings) as show:
        async for state in db.jobs.watch(job):
            show(state)
            if victim and took_s is None and state.node != victim:
                took_s = time.perf_counter() - killed_at
            if not victim and not state.is_over and _has_a_committed_map(state):
                victim = state.node
                node = cluster.node(victim)
                local_cluster.signal_node(node, signal.SIGKILL)
                killed_at = time.perf_counter()
                done = state.stage("map")
                killed = f"{victim} (pid {node.pid}) at {done.done} of {done.total} maps"
    return state, killed, took_s


def _has_a_committed_map(state: JobState) -> bool:
    """Whether the coordinator has finished a map itself."""
    return any(
        one.node == state.node and one.task.startswith("map-") and one.state == "done" for one in state.tasks
    )


def _parts(folder: str) -> set[str]:
    return (
        {name for name in os.listdir(folder) if name.startswith("part-")} if os.path.isdir(folder) else set()
    )


def _read(folder: str, name: str) -> bytes | None:
    path = Path(folder, name)
    return path.read_bytes() if path.exists() else None
