"""What the scripts need that damage one node of a cluster and wait until it is whole again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Final

from ringmill.client.connection import AsyncClient
from ringmill.client.local import processes
from ringmill.client.local.local_forming import wait_local_ready
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster, token_path

__all__ = ["HEALED_S", "fill", "flip", "has_said", "size_of", "start_scrubbing", "until_said", "until_whole"]

START_S: Final = 30.0
HEALED_S: Final = 60.0
SCRUB_EVERY_S: Final = 1.0
CLEAN: Final = "scrubbed the store, 0 damages"  # node/repair/scrub_schedule.py
VALUE_BYTES: Final = 16 * 1024
_POLL_S: Final = 0.2


async def fill(db: AsyncClient, keys: int, chance: random.Random) -> dict[str, bytes]:
    """Values that lie still, so that tables and cold blocks are hit."""
    cold = {f"cold:{number}": chance.randbytes(VALUE_BYTES) for number in range(keys)}
    waiting = list(cold.items())

    async def write() -> None:
        while waiting:
            key, value = waiting.pop()
            await db.put(key, value)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(write())
    return cold


def flip(path: Path, at: int, mask: int) -> None:
    """Turn the bits of `mask` in one byte of a file, in place."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ mask]))


async def start_scrubbing(cluster: LocalCluster, node: LocalNode) -> LocalCluster:
    """Start the node on its data, with a scrub that never rests.  Raises RingmillError when it ends."""
    command = [
        "-m", "ringmill.node", "--id", node.id, "--listen", node.address, "--data", cluster.data_folder(node),
        "--token-file", token_path(cluster.folder), "--profile", "fast", "--scrub-every", str(SCRUB_EVERY_S),
    ]  # fmt: skip
    process = processes.spawn(command, log_path=cluster.log_path(node), folder=cluster.folder)
    started = replace(node, pid=process.pid, started=processes.start_mark(process.pid))
    cluster = cluster.with_node(started)
    save_cluster(cluster)
    await wait_local_ready(cluster, [started], {node.id: process}, START_S)
    return cluster


def size_of(path: Path) -> int:
    return path.stat().st_size


def has_said(log: Path, since: int, words: str) -> bool:
    """Whether the log holds `words` behind its first `since` bytes."""
    with log.open("rb") as file:
        file.seek(since)
        return words.encode() in file.read()


async def until_said(log: Path, since: int, words: str) -> None:
    """Raises TimeoutError after `HEALED_S`."""
    async with asyncio.timeout(HEALED_S):
        while not has_said(log, since, words):  # noqa: ASYNC110 - a process of its own writes it
            await asyncio.sleep(_POLL_S)


async def until_whole(db: AsyncClient, node: str, log: Path, since: int) -> None:
    """Until a whole scrub has found nothing and no node names a damaged range or keeps a hint.

    Raises TimeoutError after `HEALED_S`.
    """
    async with asyncio.timeout(HEALED_S):
        while True:
            await asyncio.sleep(_POLL_S)
            if not has_said(log, since, CLEAN):
                continue
            status = await db.status(timeout=5.0)
            damaged = {one.id: one.damaged_ranges for one in status.nodes}
            if damaged[node] == 0 and not any(damaged.values()) and status.hints == 0:
                return
