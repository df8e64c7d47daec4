"""The tour's first part: a cluster of its own, quorums, a node killed under load and brought back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping

from ringmill.client.cli.cluster.cluster_status import ASK_S
from ringmill.client.cli.demo.demo_story import Story
from ringmill.client.connection import AsyncClient
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.bringing_up import bring_up
from ringmill.client.local.checked_load import CheckedLoad
from ringmill.client.local.local_forming import start_again
from ringmill.client.local.local_state import LocalCluster
from ringmill.client.local.tcp_ports import free_base

__all__ = ["kill_under_load", "quorums", "start", "until"]

NODES = 5
BASE_PORT = 7301
PORTS_APART = 16  # of tours that run at once
UP_GOAL_S = 2.0
UP_LIMIT_S = 10.0
PATIENCE_S = 30.0
VICTIM = "n3"


def start(story: Story, folder: str, settings: Mapping[str, int]) -> LocalCluster:
    """Five processes, one cluster, which is formed with `settings`."""
    story.chapter("Five nodes, each a process with a folder of its own")
    begun = time.perf_counter()
    first = story.settings.base_port or BASE_PORT
    base = free_base(NODES + 1, first, apart=PORTS_APART)  # another node comes later
    cluster, _ = bring_up("demo", folder, {"nodes": NODES, "base_port": base, **settings}, None)
    took_s = time.perf_counter() - begun
    pids = {node.pid for node in cluster.nodes if local_cluster.node_state(node) == "running"}
    story.tell(f"ringmill cluster up          {NODES} nodes on {cluster.nodes[0].address} and up")
    story.timed("the cluster is up", took_s, goal_s=UP_GOAL_S, limit_s=UP_LIMIT_S)
    story.check(f"{NODES} nodes are {NODES} processes", ok=len(pids) == NODES, seen=f"pids {sorted(pids)}")
    return cluster


async def quorums(story: Story, db: AsyncClient) -> None:
    """Write, read, locate."""
    story.chapter("Write by quorum, read by quorum, see where it lives")
    receipt = await db.put("user:42", b"Ada")
    acks = [f"{ack.node} ({ack.durability})" for ack in receipt.replicas if ack.role == "owner"]
    story.tell(f"ringmill put user:42 Ada     dot {receipt.dot}")
    story.check("a write is acknowledged by 2 owners or more", ok=len(acks) >= 2, seen=", ".join(acks))
    item = await db.get("user:42")
    story.tell(f"ringmill get user:42         {item.value.decode()}, from {', '.join(item.answered)}")
    story.check("what was written is read", ok=item.value == b"Ada")
    story.check("all three owners hold it", ok=await until(lambda: _is_on_all(db, "user:42")))
    place = await db.locate("user:42")
    owners = ", ".join(f"{owner.node} {' '.join(owner.dots)}" for owner in place.owners)
    story.tell(f"ringmill locate user:42      partition {place.partition}: {owners}")


async def kill_under_load(
    story: Story, db: AsyncClient, cluster: LocalCluster, writes: int, pause_s: float
) -> LocalCluster:
    """Kill a node while every read is checked, and start it again on its data.

    Each writer rests `pause_s` seconds before it writes.
    """
    story.chapter("Kill a node under load, bring it back, lose nothing")
    load, is_back = CheckedLoad(db, pause_s=pause_s), asyncio.Event()

    async def disturb() -> LocalCluster:
        await _until_count(load, writes // 3)
        node = cluster.node(VICTIM)
        local_cluster.signal_node(node, signal.SIGKILL)
        processes.wait_gone(node.pid, node.started, PATIENCE_S)
        story.tell(f"kill -9 {node.pid}  ({VICTIM}), after {load.acknowledged} acknowledged writes")
        await _until_count(load, 2 * writes // 3)
        story.check("writes go on without it", ok=load.acknowledged >= 2 * writes // 3)
        begun = time.perf_counter()
        restarted = await start_again(cluster, [cluster.node(VICTIM)])
        story.tell(f"{VICTIM} serves again {time.perf_counter() - begun:.2f} s after its start")
        is_back.set()
        return restarted

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        disturbing = group.create_task(disturb())
        group.create_task(load.run(lambda: is_back.is_set() and load.acknowledged >= writes))
    took_s = time.perf_counter() - begun
    story.tell(
        f"{load.acknowledged} writes and {load.reads} checked reads in {took_s:.1f} s; "
        f"slowest {load.slowest_write_s:.2f} s and {load.slowest_read_s:.2f} s; "
        f"{load.unknown} writes of unknown outcome, {load.refused} refused"
    )
    _check_none(story, "reads that failed", load.failed_reads)
    _check_none(story, "acknowledged writes lost under load", load.lost)
    await _check_recovery(story, db, load)
    return disturbing.result()


async def until(condition: Callable[[], Awaitable[bool]], patience_s: float = PATIENCE_S) -> bool:
    """Wait until a condition holds; False when patience ends."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience_s
    while not await condition():
        if loop.time() >= end:
            return False
        await asyncio.sleep(0.05)
    return True


async def _check_recovery(story: Story, db: AsyncClient, load: CheckedLoad) -> None:
    """Check that hints reached the node that was away, and that all copies are equal."""

    async def are_delivered() -> bool:
        status = await db.status(timeout=ASK_S)
        return status.health == "ok" and status.hints == 0

    story.check("the node is up and all hints are delivered", ok=await until(are_delivered))
    load.lost.clear()
    load.failed_reads.clear()
    await load.read_back("all")
    _check_none(story, "keys that could not be read from all three owners", load.failed_reads)
    _check_none(story, "acknowledged writes lost", load.lost)
    keys = [history.key for history in load.histories[::8]]
    same = [await _is_on_all(db, key) for key in keys]
    story.check(
        "locate shows three equal versions", ok=all(same), seen=f"{sum(same)} of {len(keys)} keys looked at"
    )


async def _is_on_all(db: AsyncClient, key: str | bytes) -> bool:
    place = await db.locate(key)
    return all(owner.answered and owner.same and owner.dots for owner in place.owners)


async def _until_count(load: CheckedLoad, count: int) -> None:
    async def is_reached() -> bool:
        return load.acknowledged >= count

    await until(is_reached, PATIENCE_S)


def _check_none(story: Story, claim: str, faults: list[str]) -> None:
    """A claim that a count is zero: "acknowledged writes lost: 0"."""
    story.check(claim, ok=not faults, seen="; ".join([str(len(faults)), *faults[:3]]))
