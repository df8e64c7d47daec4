"""Puts the records of a job's output into a keyspace, once its winners are named.

Records are put window by window.  The journal knows where a window begins, and when the names of its puts
were born, before the first of them is sent.  A coordinator that takes the job over repeats the window that it
finds, under the same names, and goes on: what was put is found by its name and not put again (rule V4).

Rule J18: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

from xxhash import xxh3_64_intdigest

from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, RingmillError
from ringmill.cluster.gathering import first_error
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.file_errors import refusal_of
from ringmill.cluster.mapreduce.files.keyspace_records import Rows
from ringmill.cluster.mapreduce.machine.job_events import LoadMoved
from ringmill.cluster.mapreduce.machine.task_state import failure_pause_s
from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import hybrid_time
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.contracts import KeyspaceAccess
from ringmill.node.jobs.journal.cells import Fenced

__all__ = ["Loader"]

WINDOW_BYTES: Final = 4 << 20
AT_A_TIME: Final = 32
READ_BYTES: Final = 64 << 10
"""Decoded in one turn of the loop: about 1 ms."""
_MAX_FAILURES: Final = 8
_CERTAIN: Final = (InvalidArgument, NotFound)
"""A keyspace that is gone: the same tomorrow."""


T = TypeVar("T")


class _Record(NamedTuple):
    ordinal: int
    key: bytes
    value: bytes


class Loader:
    """Loads the output of one job; used once.

    `id` is that of the keyspace: another one of its name gets nothing.  `name` is that
    of the job's journal, which no other job has.  `moved` keeps a mark and returns once it is kept; `window`
    is the number of records between two marks; `delayed` hears of errors after which a put is repeated.
    """

    def __init__(
        self,
        keyspace: str,
        id: KeyspaceId,
        parts: Sequence[StagedPart],
        *,
        name: str,
        window: int,
        keyspaces: KeyspaceAccess,
        files: FileSystem,
        moved: Callable[[LoadMoved], Awaitable[None]],
        delayed: Callable[[RingmillError], None],
        rest: Callable[[], Awaitable[None]],
    ) -> None:
        self._keyspace = keyspace
        self._id = id
        self._parts = sorted(parts, key=lambda part: part.partition)
        self._session = xxh3_64_intdigest(name.encode())
        self._window = window
        self._keyspaces = keyspaces
        self._files = files
        self._moved = moved
        self._delayed = delayed
        self._rest = rest
        self._put = 0  # of the window at hand
        self._is_begun = self._is_delayed = False

    async def run(self, mark: LoadMoved) -> None:
        """Go on where `mark` says; returns when all records are in the keyspace.

        Raises RingmillError, with outcome "failed" when none of them was sent; Fenced.
        """
        self._is_begun = bool(mark.records or mark.born_ms)
        try:
            for part in self._parts:
                await self._check(part)
            window: list[_Record] = []
            size = 0
            async for record in self._records(mark.records):
                window.append(record)
                size += len(record.key) + len(record.value)
                if len(window) >= self._window or size >= WINDOW_BYTES:
                    mark, size = await self._load(window, mark), 0
                    window = []
            if window:
                await self._load(window, mark)
        except Fenced:
            raise
        except RingmillError as error:
            if not self._is_begun:
                raise error.with_outcome("failed") from error
            twin = error.with_outcome("unknown")
            wanted = sum(part.records for part in self._parts)
            twin.message = (
                f"at least {mark.records + self._put} of {wanted} records are in keyspace "
                f"{self._keyspace!r}, perhaps not all: {error.message}"
            )
            raise twin from error

    async def _load(self, window: list[_Record], mark: LoadMoved) -> LoadMoved:
        """Put a window, and return the mark of the next one."""
        first = window[0].ordinal
        is_again = bool(mark.born_ms)
        if is_again:
            sometimes("a window of records is loaded again")
        else:
            self._is_begun = True
            mark = LoadMoved(first, self._keyspaces.now_ms())
            await self._moved(mark)  # before the first put of these names is sent
        await self._rest()
        last_of_key = {record.key: record for record in window}  # of a key given twice the last value
        left = iter(last_of_key.values())
        puts = [self._put_all(left, mark.born_ms, is_again=is_again) for _ in range(AT_A_TIME)]
        try:
            async with asyncio.TaskGroup() as group:
                for each in puts:
                    group.create_task(each)
        except ExceptionGroup as errors:
            raise first_error(errors) from errors
        self._put, self._is_delayed = 0, False
        return LoadMoved(window[-1].ordinal + 1, 0)

    async def _put_all(self, left: Iterator[_Record], born_ms: int, *, is_again: bool) -> None:
        for record in left:
            await self._put_one(record, born_ms, is_again=is_again)
            self._put += 1

    async def _put_one(self, record: _Record, born_ms: int, *, is_again: bool) -> None:
        name = OperationId(self._session, record.ordinal % (1 << 32), hybrid_time(born_ms))
        for failures in count(1):
            try:
                await self._keyspaces.put(
                    self._keyspace, self._id, record.key, record.value, name,
                    is_again=is_again or failures > 1,
                )  # fmt: skip
            except _CERTAIN:
                raise
            except RingmillError as error:
                if not self._is_delayed:  # told once a window
                    self._is_delayed = True
                    self._delayed(error)
                await asyncio.sleep(failure_pause_s(f"{self._session}.{record.ordinal}", failures))
            else:
                return

    async def _records(self, after: int) -> AsyncIterator[_Record]:
        """The records of all parts from number `after` on, numbered from 0 over all of them."""
        ordinal = 0
        for part in self._parts:
            if ordinal + part.records <= after:
                ordinal += part.records
                continue
            rows, end = Rows(is_output=True), ordinal + part.records
            for at in range(0, part.size, READ_BYTES):
                page = await self._read(part, at)
                with _read_of(part):
                    pairs = list(map(_pair, rows.of(page)))
                for key, value in pairs:
                    if after <= ordinal < end:
                        yield _Record(ordinal, key, value)
                    ordinal += 1
            with _read_of(part):
                rows.finish()
            if ordinal != end:
                found = part.records + ordinal - end
                raise CorruptData(f"part {part.path} has {found} records in place of {part.records}")

    async def _read(self, part: StagedPart, at: int) -> bytes:
        return await self._patiently(lambda: _page(self._files, part, at))

    async def _check(self, part: StagedPart) -> None:
        """Raises CorruptData for a part that is not what its attempt has reported."""
        if not await self._patiently(lambda: part.is_at(part.path, self._files)):
            raise CorruptData(f"part {part.path} is not what its task wrote")

    async def _patiently(self, look: Callable[[], T]) -> T:
        for failures in count(1):
            try:
                return await self._files.off_loop(look)
            except OSError as error:
                refused = refusal_of(error, "loading the output")
                if failures == _MAX_FAILURES:
                    raise refused from error
                self._delayed(refused)
            await asyncio.sleep(failure_pause_s(str(self._session), failures))
        raise AssertionError("count has no end")


@contextmanager
def _read_of(part: StagedPart) -> Iterator[None]:
    """Its attempt has written it, or the job's code in its place: the same tomorrow."""
    try:
        yield
    except TaskFailed as failure:
        raise CorruptData(f"part {part.path}: {failure.message}") from failure


def _pair(row: list[Any]) -> tuple[bytes, bytes]:
    match row:
        case [bytes(key), _, [bytes(value)]]:
            return key, value
    raise TaskFailed(Cause.CORRUPT_DATA, f"no record for a keyspace: {row!r:.200}")


def _page(files: FileSystem, part: StagedPart, at: int) -> bytes:
    with closing(part.opened(part.path, files)) as file:
        return file.pread(READ_BYTES, at)
