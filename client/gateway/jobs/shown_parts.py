"""The part files of a job's output, as far as this machine sees them: those of its manifest, and no others.

A job's folder is written by other users' code.  Only what the manifest of a job that has succeeded names is
opened, no link is followed, and nothing but a regular file counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from typing import Any, Final, NamedTuple

from ringmill.client.gateway.protection.caller_limits import SharedRoom
from ringmill.client.jobs.job_values import JobState
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, Overloaded
from ringmill.cluster.mapreduce.api.job_keyspaces import KeyspacePath, is_keyspace_path
from ringmill.cluster.mapreduce.failures import TaskFailed
from ringmill.cluster.mapreduce.file_urls import is_url
from ringmill.cluster.mapreduce.files.file_kinds import is_packed
from ringmill.cluster.mapreduce.files.unpacking import unpacked_blocks
from ringmill.cluster.mapreduce.summary.job_flow import NO_FLOW
from ringmill.cluster.ports import FileSystem, ReadFile

__all__ = ["ShownPart", "ShownParts"]

_MANIFEST: Final = "_SUCCESS"
_MOST_MANIFEST_BYTES: Final = 16 << 20
_PART: Final = re.compile(r"part-[0-9]{5,10}(\.gz|\.zst)?")
_PIECE_BYTES: Final = 1 << 20
_MOST_WINDOW_BYTES: Final = 8 << 20
"""Of a part that is unpacked here; more than zstd's levels up to 19 need."""
MOST_UNPACKED: Final = 32
"""Parts that are unpacked at a time, as each may hold its window for as long as its reader takes."""
UNPACKED_OF_ONE: Final = 8
"""Of one caller: an address, or a token that nodes have confirmed."""


class ShownPart(NamedTuple):
    """A part file: its size in bytes as it lies there, and its records."""

    name: str
    size: int
    records: int


class ShownParts:
    """Reads the outputs of jobs with the rights of the gateway's user."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._unpacking = SharedRoom(MOST_UNPACKED, UNPACKED_OF_ONE)

    async def parts(self, state: JobState) -> list[ShownPart]:
        """The parts of an output in its order.

        Raises NotFound for a job that has not succeeded, or whose folder this machine does not see, or has
        the output of another job by now; InvalidArgument when its output is not a folder; CorruptData for a
        manifest that is none.
        """
        folder = _folder_of(state)
        try:
            listed = await self._files.off_loop(self._read_manifest, folder)
        except OSError as error:
            raise NotFound(
                f"the output of job {state.job} is not in {folder} on the machine of this gateway"
            ) from error
        parts = [part for part in listed if _PART.fullmatch(part.name)]
        # A manifest names no job, as equal outputs have equal ones: its size is what tells.
        if len(parts) == len(listed) and state.flow != NO_FLOW:
            size = sum(part.size for part in parts)
            if size != state.flow.bytes_out:
                raise NotFound(
                    f"the output of job {state.job} was replaced: {folder} has one of {size} bytes, and the "
                    f"job wrote {state.flow.bytes_out}"
                )
        return parts

    async def content(
        self, state: JobState, part: ShownPart, caller: str, *, unpacked: bool
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a part, as they lie there or unpacked.

        Raises NotFound when it is gone, CorruptData when it is damaged or cannot be unpacked here, OSError;
        Overloaded while 32 others are unpacked, or 8 of this caller.
        """
        is_unpacked = unpacked and is_packed(part.name)
        if is_unpacked and not self._unpacking.enter(caller):
            raise Overloaded(
                f"the gateway unpacks {self._unpacking.taken} parts now, "
                f"of one caller {UNPACKED_OF_ONE} at most",
                hint="ask again later, or without unpacked=true", detail={"retry_after": 1.0},
            )  # fmt: skip
        try:
            async with aclosing(self._content(state, part, is_unpacked=is_unpacked)) as blocks:
                async for block in blocks:
                    yield block
        finally:
            if is_unpacked:
                self._unpacking.leave(caller)

    async def _content(
        self, state: JobState, part: ShownPart, *, is_unpacked: bool
    ) -> AsyncGenerator[bytes, None]:
        folder = _folder_of(state)
        try:
            file = await self._files.off_loop(self._files.open_below, folder, f"{folder}/{part.name}")
        except OSError as error:
            raise NotFound(f"{part.name} of job {state.job} cannot be opened: {error.strerror}") from error
        with closing(file):
            if file.size != part.size:
                raise CorruptData(f"{part.name} has {file.size} bytes, and {part.size} were written")
            blocks = _blocks(file, is_unpacked=is_unpacked)
            try:
                while (block := await self._files.off_loop(next, blocks, None)) is not None:
                    yield block
            except TaskFailed as failure:
                raise CorruptData(f"{part.name}: {failure.message}") from failure

    def _read_manifest(self, folder: str) -> list[ShownPart]:
        """The parts in the manifest of an output.  Raises OSError, CorruptData."""
        with closing(self._files.open_below(folder, f"{folder}/{_MANIFEST}")) as file:
            data = file.pread(min(file.size, _MOST_MANIFEST_BYTES), 0)
        try:
            rows = json.loads(data)["parts"]
            return [_part_of(row) for row in rows]
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise CorruptData(f"{folder}/{_MANIFEST} is not a manifest") from error


def _part_of(row: Any) -> ShownPart:
    return ShownPart(str(row["name"]), int(row["size"]), int(row["records"]))


def _blocks(file: ReadFile, *, is_unpacked: bool) -> Iterator[bytes]:
    if is_unpacked:
        yield from unpacked_blocks(file, most_window_bytes=_MOST_WINDOW_BYTES)
        return
    for offset in range(0, file.size, _PIECE_BYTES):
        yield file.pread(_PIECE_BYTES, offset)


def _folder_of(state: JobState) -> str:
    if state.state != "SUCCEEDED":
        raise NotFound(f"job {state.job} is {state.state}, so it has no output")
    if is_keyspace_path(state.output):
        keyspace = KeyspacePath.of(state.output).keyspace
        raise InvalidArgument(f"the output of job {state.job} is in keyspace {keyspace!r}, not in files")
    if is_url(state.output):
        raise InvalidArgument(f"the output of job {state.job} is in {state.output}, not in files")
    return state.output
