"""Slices of map outputs arrive whole and sound, or the map attempt that made them is named."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google_crc32c
import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.messages.worker_messages import RemoteSlice
from ringmill.node.compute import shuffle_client
from ringmill.node.compute.fetch_window import FetchWindow
from ringmill.node.compute.shuffle_client import SliceLost, fetch_slices
from ringmill.node.compute.shuffle_server import OutputId, ShuffleServer

JOB = "j-1"


def contents(path: str) -> bytes:
    return Path(path).read_bytes()


class Mappers:
    """Three nodes with one map output each, of different sizes."""

    def __init__(self, wire: Any, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, ShuffleServer] = {}
        self.slices: list[RemoteSlice] = []
        self.contents: list[bytes] = []
        for task, (node, size) in enumerate([("n1", 10), ("n2", 3_500_000), ("n3", 0), ("n1", 1 << 20)]):
            content = bytes((task + i) % 251 for i in range(256)) * (size // 256 + 1)
            content = content[:size]
            path = folder / f"map-{task}.run"
            path.write_bytes(b"head" + content + b"tail")
            if node not in self.servers:
                self.servers[node] = self._server(wire, node)
            self.servers[node].announce(OutputId(JOB, task, 1), str(path))
            checksum = google_crc32c.value(content)
            self.slices.append(RemoteSlice(NodeId(node), task, 1, 4, size, size, 1, checksum))
            self.contents.append(content)

    def _server(self, wire: Any, node: str) -> ShuffleServer:
        server = ShuffleServer(OsFileSystem())
        for method, handler in server.handlers().items():
            wire.end(node).serve(method, handler)
        return server

    def path(self, task: int) -> Path:
        return self.folder / f"map-{task}.run"


@pytest.fixture
def mappers(wire: Any, tmp_path: Path) -> Mappers:
    return Mappers(wire, tmp_path)


@pytest.fixture
def fetch(wire: Any, tmp_path: Path, mappers: Mappers, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(shuffle_client, "_PAUSE_S", 0.001)

    async def run(job: str = JOB, window: FetchWindow | None = None) -> list[bytes]:
        arrived: list[int] = []
        copies = await fetch_slices(
            job, mappers.slices, tempfile.mkdtemp(dir=tmp_path),
            transport=wire.end("n9"), files=OsFileSystem(), window=window or FetchWindow(),
            arrived=arrived.append,
        )  # fmt: skip
        assert sum(arrived) == sum(map(len, mappers.contents))
        return [contents(each.path) for each in copies]

    return run


async def test_slices_arrive_whole_in_task_order_without_the_empty_ones(
    fetch: Callable[..., Any], mappers: Mappers
) -> None:
    assert await fetch() == [content for content in mappers.contents if content]


@pytest.mark.parametrize("chunks", [1, 2, 3], ids="of {} chunks".format)
async def test_no_more_chunks_are_under_way_than_the_window_of_a_worker_has(
    fetch: Callable[..., Any], wire: Any, mappers: Mappers, monkeypatch: pytest.MonkeyPatch, chunks: int
) -> None:
    asked, most = 0, 0
    end = wire.end("n9")
    call = end.call

    async def counted(*args: Any, **kwargs: Any) -> bytes:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        await asyncio.sleep(0)
        try:
            return bytes(await call(*args, **kwargs))
        finally:
            asked -= 1

    monkeypatch.setattr(wire, "end", lambda node: SimpleNamespace(call=counted))
    assert await fetch(window=FetchWindow(chunks)) == [content for content in mappers.contents if content]
    assert most == chunks


async def test_one_flipped_bit_names_the_map_attempt_as_corrupt(
    fetch: Callable[..., Any], mappers: Mappers
) -> None:
    data = bytearray(mappers.path(1).read_bytes())
    data[2_000_000] ^= 1
    mappers.path(1).write_bytes(data)
    with pytest.raises(SliceLost, match=r"map-1\.1 on n2: has checksum") as caught:
        await fetch()
    assert caught.value.failure.cause is Cause.CORRUPT_DATA
    assert caught.value.slice == mappers.slices[1]


async def test_a_file_cut_short_or_removed_names_the_map_attempt(
    fetch: Callable[..., Any], mappers: Mappers
) -> None:
    mappers.path(3).write_bytes(b"head")
    with pytest.raises(SliceLost, match="ends 1048576 bytes early"):
        await fetch()


async def test_no_link_or_pipe_in_place_of_an_output_is_served(
    fetch: Callable[..., Any], mappers: Mappers, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    place, moved = mappers.path(1), tmp_path / "elsewhere" / "map-1.run"
    place.rename(moved)
    place.symlink_to(moved)
    with pytest.raises(SliceLost, match=r"output of map-1\.1: Too many levels of symbolic links"):
        await fetch()
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(SliceLost, match=r"output of map-1\.1: is not a regular file"):
        await fetch()
    (tmp_path / "attempt").symlink_to(tmp_path / "elsewhere")
    mappers.servers["n2"].announce(OutputId(JOB, 1, 1), str(tmp_path / "attempt" / "map-1.run"))
    with pytest.raises(SliceLost, match=r"output of map-1\.1: Not a directory"):
        await fetch()


async def test_an_output_that_is_not_there_is_a_failed_fetch(
    fetch: Callable[..., Any], mappers: Mappers
) -> None:
    mappers.servers["n2"].forget(JOB)
    with pytest.raises(SliceLost, match=r"no output of map-1\.1") as caught:
        await fetch()
    assert caught.value.failure.cause is Cause.FETCH_FAILED


async def test_a_node_out_of_reach_is_asked_three_times(
    fetch: Callable[..., Any], wire: Any, mappers: Mappers
) -> None:
    wire.cut.add("n2")
    with pytest.raises(SliceLost, match="tried 3 times: n2 cannot be reached") as caught:
        await fetch()
    assert caught.value.slice.node == "n2"
    assert wire.calls.count(("n2", "shuffle.fetch")) == 3
