"""The tour's second part about the cluster: a node comes and another leaves, while every read is checked."""

from __future__ import annotations

import asyncio
import time

from ringmill.client.cli.demo.demo_cluster import PATIENCE_S, until
from ringmill.client.cli.demo.demo_story import Story
from ringmill.client.connection import AsyncClient
from ringmill.client.local import local_cluster
from ringmill.client.local.checked_load import CheckedLoad
from ringmill.client.local.local_state import LocalCluster
from ringmill.client.local.newcomers import next_node, start_newcomer, stop_and_forget
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import first_error

__all__ = ["come_and_go"]

LEAVER = "n1"
MOVED_GOAL_S = 20.0
MOVED_LIMIT_S = 60.0
BALANCED = 1.05
_CALM_WORKERS = 4


async def come_and_go(story: Story, db: AsyncClient, folder: str, pause_s: float) -> LocalCluster:
    """Add a node and take one out, while each writer rests that long before it writes.

    Returns the cluster as it is then.
    """
    story.chapter("A node comes and another leaves, under load")
    load, is_over = CheckedLoad(db, workers=_CALM_WORKERS, pause_s=pause_s), asyncio.Event()

    async def change() -> None:
        try:
            await _come(story, db, folder)
            await _go(story, db, folder)
        finally:
            is_over.set()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(change())
            group.create_task(load.run(is_over.is_set))
    except ExceptionGroup as failures:
        raise first_error(failures) from None
    story.tell(f"{load.acknowledged} writes and {load.reads} checked reads meanwhile")
    for claim, faults in (("reads that failed", load.failed_reads), ("writes lost", load.lost)):
        seen = "; ".join([str(len(faults)), *faults[:3]])
        story.check(f"{claim} while partitions moved", ok=not faults, seen=seen)
    return local_cluster.required_cluster(folder)


async def _come(story: Story, db: AsyncClient, folder: str) -> None:
    fresh = next_node(local_cluster.required_cluster(folder))
    await asyncio.to_thread(start_newcomer, folder, fresh, PATIENCE_S)
    plan = await db.ring.plan(add={fresh.id: fresh.address})
    begun = time.perf_counter()
    await db.members.change(add={fresh.id: fresh.address})
    await _wait_until_settled(db)
    took_s = time.perf_counter() - begun
    story.tell(f"ringmill cluster add         {fresh.id} gets {plan.copies} copies of partitions")
    story.timed(f"{fresh.id} has joined", took_s, goal_s=MOVED_GOAL_S, limit_s=MOVED_LIMIT_S)
    view = await db.ring.show()
    share = f"the fullest node has {view.balance:.2f} of its share"
    story.check("every node owns its share", ok=view.balance <= BALANCED, seen=share)


async def _go(story: Story, db: AsyncClient, folder: str) -> None:
    begun = time.perf_counter()
    await db.members.change(remove=[LEAVER])
    await _wait_until_settled(db)
    took_s = time.perf_counter() - begun
    story.tell(f"ringmill cluster remove {LEAVER}")
    story.timed(f"{LEAVER} owns nothing and has left", took_s, goal_s=MOVED_GOAL_S, limit_s=MOVED_LIMIT_S)
    await db.members.resume_moves()  # a majority of the voters knows
    await asyncio.to_thread(stop_and_forget, folder, LEAVER)


async def _wait_until_settled(db: AsyncClient) -> None:
    async def is_over() -> bool:
        try:
            return (await db.members.moves()).is_over
        except RingmillError:
            return False

    await until(is_over, MOVED_LIMIT_S)
