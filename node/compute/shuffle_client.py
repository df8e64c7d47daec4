"""Fetches the slices of one reduce attempt from the nodes of the maps, into files of its own folder.

It fetches from at most 4 nodes at once, with at most 32 MiB in flight, and of each as much as comes soon
(fetch_window.py). All attempts of a worker together have at most 64 MiB, so that slots do not multiply what
a node holds. A chunk is tried three times in all; then the attempt fails and names the slice. One that was
late while others of its node came was not tried: that node serves, slowly. Every slice's checksum is
compared with the one that its map attempt committed: a damaged or missing output is a failure of that map,
never an empty slice.

Rules J3 and J28: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import google_crc32c
import msgpack

from ringmill.cluster.errors import CorruptData, DeadlineExceeded, NotFound, Overloaded, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.messages.worker_messages import RemoteSlice
from ringmill.cluster.mapreduce.outputs import Slice
from ringmill.cluster.ports import FileSystem, Priority, Transport
from ringmill.node.compute.fetch_window import FetchWindow, NodePace
from ringmill.node.compute.shuffle_server import SHUFFLE_FETCH
from ringmill.node.compute.whole_appends import append_off_loop

__all__ = ["SliceLost", "fetch_slices"]

_NODES_AT_ONCE: Final = 4
_SLICES_PER_NODE: Final = 8  # with chunks of 1 MiB and 4 nodes: 32 MiB under way
_TRIES: Final = 3
_PAUSE_S: Final = 0.2
_CHUNK_TIMEOUT_S: Final = 5.0
_MOST_LATE: Final = 20  # chunks in a row, while others came
_WORTH_A_RETRY: Final = (Unavailable, DeadlineExceeded, Overloaded)


class SliceLost(Exception):
    """A slice cannot be fetched: `failure` says why, and `slice` names the map attempt that has to run
    again."""

    def __init__(self, lost: RemoteSlice, failure: TaskFailed) -> None:
        super().__init__(str(failure))
        self.slice = lost
        self.failure = failure


async def fetch_slices(
    job: str,
    slices: Sequence[RemoteSlice],
    folder: str,
    *,
    transport: Transport,
    files: FileSystem,
    window: FetchWindow,
    arrived: Callable[[int], None],
) -> list[Slice]:
    """One file for each slice that holds records, in the given order; calls `arrived(bytes)` as they come.

    Raises SliceLost; then files may be left in `folder`.
    """
    files.mkdir(folder)
    fetcher = _Fetcher(job, folder, transport, files, window, arrived)
    wanted = [piece for piece in slices if piece.length]
    by_node: dict[NodeId, list[RemoteSlice]] = {}
    for piece in wanted:
        by_node.setdefault(piece.node, []).append(piece)
    nodes = asyncio.Semaphore(_NODES_AT_ONCE)
    await _together(fetcher.from_node(pieces, nodes) for pieces in by_node.values())
    return [Slice(fetcher.path(p), 0, p.length, p.raw_bytes, p.records) for p in wanted]


@dataclass(frozen=True, slots=True)
class _Fetcher:
    job: str
    folder: str
    transport: Transport
    files: FileSystem
    window: FetchWindow
    arrived: Callable[[int], None]

    def path(self, piece: RemoteSlice) -> str:
        return f"{self.folder}/map-{piece.task:05}"

    async def from_node(self, pieces: list[RemoteSlice], nodes: asyncio.Semaphore) -> None:
        async with nodes:
            left = iter(pieces)  # there may be 100,000, so each has no task of its own
            await _together(self._one_by_one(left) for _ in range(min(_SLICES_PER_NODE, len(pieces))))

    async def _one_by_one(self, left: Iterator[RemoteSlice]) -> None:
        for piece in left:
            await self._slice(piece)

    async def _slice(self, piece: RemoteSlice) -> None:
        file = self.files.create(self.path(piece))
        try:
            checksum = 0
            while file.size < piece.length:
                chunk = await self._chunk(piece, file.size)
                checksum = google_crc32c.extend(checksum, chunk)
                await append_off_loop(self.files, file, chunk)
                self.arrived(len(chunk))
        finally:
            file.close()
        if not _is_sound(piece, checksum):
            raise _lost(
                piece, Cause.CORRUPT_DATA, f"has checksum {checksum:08x}, committed was {piece.crc32c:08x}"
            )

    async def _chunk(self, piece: RemoteSlice, done: int) -> bytes:
        """The next bytes of a slice, tried three times."""
        pace = self.window.pace_of(piece.node)
        failed = late = 0
        silent = pace.silent
        while True:
            async with pace:
                silent = min(silent, pace.silent)
                if pace.silent - silent >= _TRIES:  # whoever has waited for the others' tries need not try
                    raise _lost(piece, Cause.FETCH_FAILED, f"tried {_TRIES} times: {piece.node} is silent")
                length, came = min(pace.chunk_bytes, piece.length - done), pace.came
                try:
                    chunk = await self._asked(piece, done, length, pace)
                except (NotFound, CorruptData) as error:  # that node will not find it later either
                    raise _lost(piece, Cause.FETCH_FAILED, str(error)) from error
                except _WORTH_A_RETRY as error:
                    is_slow = isinstance(error, DeadlineExceeded) and pace.came > came and late < _MOST_LATE
                    failed, late, why = failed + (not is_slow), late + is_slow, str(error)
                else:
                    if not chunk or len(chunk) > length:
                        raise _lost(piece, Cause.CORRUPT_DATA, f"ends {piece.length - done} bytes early")
                    return chunk
            if failed == _TRIES:
                raise _lost(piece, Cause.FETCH_FAILED, f"tried {_TRIES} times: {why}")
            await asyncio.sleep(_PAUSE_S * failed)

    async def _asked(self, piece: RemoteSlice, done: int, length: int, pace: NodePace) -> bytes:
        request = msgpack.packb([self.job, piece.task, piece.attempt, piece.offset + done, length])
        now = asyncio.get_running_loop().time
        async with self.window:
            begun = now()
            try:
                chunk = await self.transport.call(
                    piece.node, SHUFFLE_FETCH, request, timeout_s=_CHUNK_TIMEOUT_S, priority=Priority.BULK
                )
            except DeadlineExceeded:
                pace.note_late(begun, now())
                raise
        pace.note_came(now() - begun)
        return chunk


def _is_sound(piece: RemoteSlice, checksum: int) -> bool:
    return checksum == piece.crc32c


def _lost(piece: RemoteSlice, cause: Cause, why: str) -> SliceLost:
    return SliceLost(
        piece, TaskFailed(cause, f"output of map-{piece.task}.{piece.attempt} on {piece.node}: {why}")
    )


async def _together(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Run all; the first failure cancels the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
