"""How long each verb on jobs takes beside a node that SIGSTOP has stopped, and beside a stopped coordinator.

    python scripts/bench/slow/paused_verbs.py [--quick] [--nodes 5] [--tasks 400] [--rounds 3] [--json PATH]

A job runs whose maps wait.  Each verb is asked by a new client, which knows all nodes and nothing of the job,
just after the node was stopped, when no other one has noticed it; then the node goes on, and the next verb
has its turn once all nodes are seen up.  `explain` is status and attempts.  `kill` is asked of a job of its
own.  The goal of 1 s is for verbs beside a node that does not coordinate; for those beside a stopped
coordinator it is a figure: verbs that change a job wait for the next one.  A verb that fails has no time, and
misses its goal.
"""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the benchmarks share

from local_cluster import BenchCluster
from report import percentile
from ringmill.client.administration.second_looks import IN_SERVICE
from ringmill.client.connection import AsyncClient, connect
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, load_cluster, read_token
from ringmill.cluster.errors import RingmillError
from slow.waiting import JOB, Setup, on_cluster

GOAL_S = 1.0
REST_S = 60.0
OUTPUT = Path("build/bench/paused-output").absolute()
Verb = Callable[[AsyncClient, str, Path], Awaitable[object]]


async def _first_state(db: AsyncClient, job: str, path: Path) -> object:
    return await anext(db.jobs.watch(job))


async def _submitted(db: AsyncClient, job: str, path: Path) -> str:
    output = OUTPUT.with_name(f"paused-{time.monotonic_ns()}")
    return await db.jobs.submit(f"{JOB}:waiting", input=str(path), output=str(output), split_mib=1)


VERBS: dict[str, Verb] = {
    "list": lambda db, job, path: db.jobs.list(),
    "status": lambda db, job, path: db.jobs.status(job),
    "explain": lambda db, job, path: db.jobs.explain(job),
    "logs": lambda db, job, path: db.jobs.logs(job),
    "coordinator": lambda db, job, path: db.jobs.coordinator(),
    "follow, its first word": _first_state,
    "pause": lambda db, job, path: db.jobs.pause(job),
    "resume": lambda db, job, path: db.jobs.resume(job),
    "run, until it is accepted": _submitted,
    "kill": lambda db, job, path: db.jobs.kill(job),
}


class Paused:
    """The nodes of a cluster, one of which is stopped for the time of a verb."""

    def __init__(self, cluster: BenchCluster, path: Path) -> None:
        self._cluster = cluster
        self._path = path
        self._addresses = cluster.endpoints

    async def seconds(self, verb: str, whom: str) -> float | None:
        """Of a verb; `whom` is "nobody", "another node" or "the coordinator".  None when it failed."""
        async with self._client() as db:
            job = await _submitted(db, "", self._path)
            keeper = (await db.jobs.status(job)).node
        local = load_cluster(str(self._cluster.folder))
        assert local is not None
        victim = {"nobody": "", "the coordinator": keeper}.get(whom, _other(local, keeper))
        async with self._client() as db:
            await db.get("nothing", default=None)
            if victim:
                local_cluster.signal_node(local.node(victim), signal.SIGSTOP)
            began = time.monotonic()
            try:
                await VERBS[verb](db, job, self._path)
                took = time.monotonic() - began
            except RingmillError as error:
                print(f"{verb} beside {whom}: {type(error).__name__}: {error}", flush=True)
                took = None
            if victim:
                local_cluster.signal_node(local.node(victim), signal.SIGCONT)
        await self._at_rest()
        return took

    async def _at_rest(self) -> None:
        """No job is open, and all nodes are seen up."""
        async with self._client() as db:
            for job in await db.jobs.list():
                if not job.is_over:
                    await db.jobs.kill(job.job)
            async with asyncio.timeout(REST_S):
                while any(node.state not in IN_SERVICE for node in (await db.status()).nodes):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    def _client(self) -> AsyncClient:
        return connect(self._addresses, token=read_token(str(self._cluster.folder)), timeout=20.0)


def _other(cluster: LocalCluster, keeper: str) -> str:
    return next(node.id for node in cluster.nodes if node.id != keeper)


async def measured(cluster: BenchCluster, given: Setup) -> None:
    paused = Paused(cluster, given.path)
    for verb in VERBS:
        took: dict[str, list[float]] = {whom: [] for whom in ("nobody", "another node", "the coordinator")}
        for _ in range(given.rounds):
            for whom, times in took.items():
                if (seconds := await paused.seconds(verb, whom)) is not None:
                    times.append(seconds)
        at_rest, beside, coordinator = took.values()
        given.report.row(
            verb, at_rest_s=_median(at_rest),
            paused_node_s=_median(beside), longest_s=max(beside, default=None),
            paused_coordinator_s=_median(coordinator), longest_coordinator_s=max(coordinator, default=None),
            failed=3 * given.rounds - sum(map(len, took.values())),
        )  # fmt: skip
        is_whole = at_rest and len(beside) == given.rounds
        delay = max(beside) - percentile(at_rest, 0.5) if is_whole else math.inf
        given.report.goal(f"{verb} beside a paused node, later than at rest by", delay, GOAL_S, "s")


def _median(times: list[float]) -> float | None:
    return percentile(times, 0.5) if times else None


def main() -> None:
    on_cluster(
        "paused-verbs",
        "Verbs on jobs beside a paused node.",
        lambda *given: asyncio.run(measured(*given)),
        tasks=400,
        rounds=3,
    )


if __name__ == "__main__":
    main()
