"""Slices arrive over slow links, too: a node that is slow is asked for less, and is not called lost (J28)."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, cast

import google_crc32c
import msgpack
import pytest

from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.messages.worker_messages import RemoteSlice
from ringmill.cluster.ports import FileSystem, Transport
from ringmill.node.compute.fetch_window import FetchWindow, NodePace
from ringmill.node.compute.shuffle_client import SliceLost, fetch_slices
from ringmill.simulator.world.virtual_loop import VirtualLoop

MIB = 1 << 20
NODES = tuple(map(NodeId, ("n1", "n2", "n3", "n4")))


class Link:
    """One link that all nodes are behind: what has begun to cross does, whoever still waits for it."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self.free_at = 0.0
        self.carried_bytes = 0
        self.is_silent = False
        self.asked_at: list[float] = []

    async def call(self, node: NodeId, method: str, request: bytes, *, timeout_s: float, **_: Any) -> bytes:
        loop = asyncio.get_running_loop()
        self.asked_at.append(loop.time())
        _, _, _, _, length = msgpack.unpackb(request)
        begins_s = max(self.free_at - loop.time(), 0.0)
        wait_s = begins_s + length / self.bytes_per_s
        if begins_s <= timeout_s:  # else its node does not send it any more (rule D2)
            self.free_at = loop.time() + wait_s
        if wait_s > timeout_s or self.is_silent:
            await asyncio.sleep(timeout_s)
            raise DeadlineExceeded("no answer in time")
        await asyncio.sleep(wait_s)
        self.carried_bytes += length
        return bytes(length)


class Loose:
    """Files without a disk."""

    def __init__(self, path: str = "") -> None:
        self.path, self.size = path, 0

    def mkdir(self, path: str) -> None: ...

    def close(self) -> None: ...

    def create(self, path: str) -> Loose:
        return Loose(path)

    def append(self, data: bytes) -> None:
        self.size += len(data)

    async def off_loop(self, call: Any, *args: Any) -> Any:
        return call(*args)


def slices(count: int, size: int) -> list[RemoteSlice]:
    crc = google_crc32c.value(bytes(size))
    return [RemoteSlice(NODES[task % 4], task, 1, 0, size, size, 1, crc) for task in range(count)]


def fetch(link: Link, pieces: list[RemoteSlice], reduces: int = 1) -> float:
    """How many seconds all slices took, with this number of reduces of one worker at a time."""
    loop = VirtualLoop(Random(1))

    async def story() -> float:
        window, files = FetchWindow(), cast("FileSystem", Loose())
        await asyncio.gather(
            *(
                fetch_slices(
                    "j-1", pieces, f"reduce-{number}", transport=cast("Transport", link), files=files,
                    window=window, arrived=lambda size: None,
                )
                for number in range(reduces)
            )
        )  # fmt: skip
        return asyncio.get_running_loop().time()

    try:
        took_s: float = loop.run_until_complete(story())
        return took_s
    finally:
        loop.drop_everything()


@pytest.mark.parametrize("mbit_per_s", [2, 5, 10, 20, 50, 100, 1000])
def test_all_slices_cross_a_slow_link_and_little_of_it_is_wasted(mbit_per_s: int) -> None:
    link, total = Link(mbit_per_s * 125_000), 64 * MIB // (8 if mbit_per_s < 10 else 1)
    took_s = fetch(link, slices(16, total // 16))
    assert link.carried_bytes == total
    assert took_s < 1.6 * total / link.bytes_per_s + 5


def test_many_slices_are_no_more_tasks_than_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = []
    call = Link.call

    async def counted(link: Link, *args: Any, **options: Any) -> bytes:
        tasks.append(len(asyncio.all_tasks()))
        return await call(link, *args, **options)

    monkeypatch.setattr(Link, "call", counted)
    fetch(Link(1e9), slices(400, 1000))
    assert len(tasks) == 400
    assert max(tasks) < 50


def test_two_reduces_of_a_worker_know_together_what_a_link_carries() -> None:
    link = Link(20 * 125_000)
    fetch(link, slices(16, 2 * MIB), reduces=2)
    assert link.carried_bytes == 2 * 32 * MIB


def test_a_node_that_is_silent_is_lost_after_three_tries() -> None:
    link = Link(1e9)
    link.is_silent = True
    with pytest.raises(SliceLost, match="tried 3 times"):
        fetch(link, slices(4, MIB))
    assert link.carried_bytes == 0


def test_whoever_waits_for_a_silent_node_takes_the_tries_of_others_for_its_own() -> None:
    link = Link(1e9)
    link.is_silent = True
    with pytest.raises(SliceLost, match=r"tried 3 times"):
        fetch(link, slices(64, MIB), reduces=4)
    assert link.asked_at[-1] <= 20


def test_a_fast_node_is_soon_asked_for_many_chunks() -> None:
    pace = NodePace()
    for _ in range(40):
        pace.note_came(0.01)
    assert pace.most == 32
    pace.note_late(1.0, 6.0)
    assert (pace.most, pace.chunk_bytes) == (16, MIB // 2)
