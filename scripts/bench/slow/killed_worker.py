"""What a killed worker costs a job: a task process, or a node.

    python scripts/bench/slow/killed_worker.py [--nodes 5] [--tasks 16] [--rounds 5] [--json PATH]

The maps wait for their lines, 2.56 s each, which are four of `--tasks`; there are fewer than nodes, so that a
slot is free for what is lost.  When all of them run and a drawn time has passed, the task process of one is
killed (SIGKILL), or the node of one, which does not coordinate the job; it is started again when the job is
over.  `lost_s` is how long the lost attempt had run; `over_s` is the time from the kill until the next
attempt of the task began: it is noticed, put off, and begun elsewhere.  Both together are what the job waits
for.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import BenchCluster
from report import percentile
from ringmill.client.connection import AsyncClient, connect
from ringmill.client.jobs.job_values import JobState
from ringmill.client.local.local_state import read_token
from slow.waiting import JOB, Setup, on_cluster, tasks_of

GOAL_S = 0.5
INTO_A_TASK_S = (0.3, 1.5)
TASK_MIB = 4
TRIES = 4
OUTPUT = Path("build/bench/killed-output").absolute()
Strike = Callable[[str], None]


class Took(NamedTuple):
    """Seconds of a job, of its attempt that was lost, and until that one's task began again."""

    seconds: float
    lost_s: float
    over_s: float


class Killer:
    """Kills on one cluster, whose nodes are n1, n2, ...; a node that was killed is back after `restored`."""

    def __init__(self, cluster: BenchCluster) -> None:
        self._cluster = cluster
        self._killed: list[str] = []

    def process(self, node: str) -> None:
        for task in tasks_of(self._cluster.pids[int(node[1:]) - 1]):
            task.kill()

    def node(self, node: str) -> None:
        os.kill(self._cluster.pids[int(node[1:]) - 1], signal.SIGKILL)
        self._killed.append(node)

    def restored(self) -> None:
        while self._killed:
            self._cluster.command("cluster", "restart", self._killed.pop())


async def took(db: AsyncClient, path: Path, strike: Strike, after_s: float) -> Took | None:
    """Run the job; `strike` gets the node of a map that runs there and does not coordinate the job.

    None when that map was over before, as the machine was busy, or a backup that ran already did its work.
    """
    job = await db.jobs.submit(
        f"{JOB}:waiting", input=str(path), output=str(OUTPUT), overwrite=True, split_mib=TASK_MIB
    )
    victim, killed_at, state = "", 0.0, None
    async for state in db.jobs.watch(job):
        if not victim and (found := _victim(state)):
            victim = found
            await asyncio.sleep(after_s)
            strike(victim)
            killed_at = time.time() - state.submitted_at  # in seconds of the job
    assert state is not None
    state.raise_unless_succeeded()
    attempts = await db.jobs.attempts(job)
    lost = next((each for each in attempts if each.node == victim and not each.counts), None)
    if lost is None:
        return None
    again = [each.began_s for each in attempts if each.task == lost.task and each.began_s > killed_at]
    return Took(state.seconds, killed_at - lost.began_s, min(again) - killed_at) if again else None


def _victim(state: JobState) -> str:
    """A node, once all maps run; "" before."""
    maps = [task for task in state.tasks if task.task.startswith("map-")]
    if not maps or any(task.state != "running" for task in maps):
        return ""
    return next((task.node for task in maps if task.node != state.node), "")


async def measured(cluster: BenchCluster, given: Setup) -> None:
    chance, killer = random.Random(7), Killer(cluster)
    ways = {"a task process": killer.process, "a node": killer.node}
    killed = {what: list[Took]() for what in ways}
    async with connect(cluster.endpoints, token=read_token(str(cluster.folder))) as db:
        for _ in range(TRIES * given.rounds):
            for what, strike in ways.items():
                if len(killed[what]) == given.rounds:
                    continue
                one = await took(db, given.path, strike, chance.uniform(*INTO_A_TASK_S))
                await asyncio.to_thread(killer.restored)
                if one is not None:
                    killed[what].append(one)
    for what, found in killed.items():
        longest_s = max((each.over_s for each in found), default=math.inf)  # of none the goal is missed
        given.report.row(
            what, times=len(found),
            job_s=percentile([each.seconds for each in found], 0.5),
            lost_s=percentile([each.lost_s for each in found], 0.5),
            over_s=percentile([each.over_s for each in found], 0.5),
            longest_over_s=longest_s if found else None,
        )  # fmt: skip
        given.report.goal(f"{what}, beyond the lost time", longest_s, GOAL_S, "s")


def main() -> None:
    on_cluster(
        "killed-worker",
        "What a killed worker costs a job.",
        lambda *given: asyncio.run(measured(*given)),
        tasks=16,
        rounds=5,
    )


if __name__ == "__main__":
    main()
