"""`ringmill cluster restart --rolling`: one node after the other, each once the one before has caught up.

client/local/rolling.py says when a turn has come.  Stops at the first node that does not come back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringmill.client.administration.second_looks import SEEN_WITHIN_S
from ringmill.client.administration.status import ClusterStatus
from ringmill.client.cli.cluster.cluster_status import POLL_S, ask_status
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.failure_text import shown_error
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_forming import RESTART_TIMEOUT_S, start_again
from ringmill.client.local.local_state import LocalCluster
from ringmill.client.local.rolling import check_may_begin, in_order, may_pass, why_behind
from ringmill.cluster.errors import DeadlineExceeded, RingmillError, Unavailable

if TYPE_CHECKING:
    from ringmill.client.connection import AsyncClient

__all__ = ["restart_rolling"]

LOOK_S = 2.0


async def restart_rolling(
    settings: Settings, names: Sequence[str], *, is_forced: bool, jobs_within_s: float = 0.0
) -> LocalCluster:
    """Restart the named nodes, or all, and return the cluster with its new pids.  Before each node the jobs
    that run are waited for, up to `jobs_within_s`: what their maps have left on it is gone with its process.

    --timeout is for each node.  Raises Unavailable when requests would fail, unless forced; what a start
    raises; DeadlineExceeded for a node that does not catch up.
    """
    timeout_s = settings.timeout or RESTART_TIMEOUT_S
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    chosen: Sequence[str] = [node.id for node in cluster.chosen(names)]
    try:
        seen = await ask_status(settings, LOOK_S)
    except (Unavailable, DeadlineExceeded):
        if not is_forced:
            raise
    else:
        chosen = in_order(seen, names)
        if not is_forced:
            await _wait_may_begin(settings, seen)
    for number, name in enumerate(chosen, 1):
        if jobs_within_s:
            await _let_jobs_end(settings, name, jobs_within_s)
        begun = time.monotonic()
        try:
            (ended,) = (await asyncio.to_thread(local_cluster.stop_nodes, cluster.chosen([name]))).values()
            stopped = time.monotonic()
            cluster = await start_again(cluster, cluster.chosen([name]), timeout_s)
            serves = time.monotonic()
            if not is_forced:
                await _wait_caught_up(settings, name, timeout_s)
        except (RingmillError, OSError) as error:
            raise _stopped_at(shown_error(error), chosen, number) from None
        caught_up = time.monotonic()
        output.note(
            f"{name} ({number} of {len(chosen)}): {ended} after {stopped - begun:.1f} s, "
            f"serves after {serves - begun:.1f} s, has caught up after {caught_up - begun:.1f} s"
        )
    return cluster


async def _wait_may_begin(settings: Settings, seen: ClusterStatus) -> None:
    """Look again for SEEN_WITHIN_S at most at what may pass.  Raises what `check_may_begin` raises."""
    until = time.monotonic() + SEEN_WITHIN_S
    while True:
        try:
            return check_may_begin(seen)
        except Unavailable:
            if not may_pass(seen) or time.monotonic() >= until:
                raise
        await asyncio.sleep(POLL_S)
        seen = await ask_status(settings, LOOK_S)


async def running_jobs(db: AsyncClient) -> list[str]:
    """The jobs that may have work on a node.  Raises RingmillError when none can be asked."""
    return [each.job for each in await db.jobs.list() if not each.is_over and each.state != "PAUSED"]


async def _let_jobs_end(settings: Settings, name: str, within_s: float) -> None:
    """Those that take longer, or cannot be asked for, are told of and not waited for."""
    until = time.monotonic() + within_s
    try:
        async with open_client(settings) as db:
            while running := await running_jobs(db):
                left_s = until - time.monotonic()
                if left_s <= 0:
                    told = f"{' '.join(running)} not over after {within_s:g} s; some maps run again"
                    output.note(f"{name}: {told}")
                    return
                await asyncio.sleep(min(LOOK_S, left_s))
    except RingmillError as error:
        output.note(f"{name}: no job is waited for: {error.message}")


async def _wait_caught_up(settings: Settings, name: str, timeout_s: float) -> None:
    """Raises DeadlineExceeded, which says what the node still lacks."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            why = why_behind(await ask_status(settings, LOOK_S), name)
        except (Unavailable, DeadlineExceeded) as error:
            why = f"is not known to have caught up: {error.message}"
        if not why:
            return
        if time.monotonic() >= until:
            raise DeadlineExceeded(f"{name} {why} after {timeout_s:g} s", detail={"node": name})
        await asyncio.sleep(POLL_S)


def _stopped_at(error: RingmillError, chosen: Sequence[str], number: int) -> RingmillError:
    """The error of the node of this number, which also says what was and was not done."""
    done, name, left = chosen[: number - 1], chosen[number - 1], chosen[number:]
    changes = [f"{' '.join(done)} restarted"] if done else []
    changes.append(f"{name} was stopped and has not come back")
    changes += [f"{' '.join(left)} not touched"] if left else []
    error.detail["changed"], error.outcome = "; ".join(changes), "unknown"
    again = f", then `ringmill cluster restart --rolling {' '.join(left)}`" if left else ""
    error.hint = (
        f"see `ringmill cluster logs {name}`; bring it back by `ringmill cluster restart {name}`{again}"
    )
    return error
