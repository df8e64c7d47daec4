"""Serves the map outputs on this node to reduce tasks, in chunks of at most 1 MiB.

Only files that a worker announced can be read, by (job, map task, attempt), never by a path from outside.
The reader checks the bytes, because it has the checksums.

See: docs/architecture.md, "Shuffle".
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgpack

from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, Overloaded
from ringmill.cluster.mapreduce.well_formed import well_formed, whole_number
from ringmill.cluster.os_errors import Meaning, meaning_of
from ringmill.cluster.ports import FileSystem, Handler, Incoming

__all__ = ["CHUNK_BYTES", "SHUFFLE_FETCH", "OutputId", "ShuffleServer"]

CHUNK_BYTES: Final = 1024 * 1024
SHUFFLE_FETCH: Final = "shuffle.fetch"

_REFUSALS: Final = {Meaning.ABSENT: NotFound, Meaning.EXHAUSTED: Overloaded}  # others will not be read later


class OutputId(NamedTuple):
    """One map attempt's output file."""

    job: str
    task: int
    attempt: int


@dataclass(slots=True)
class ShuffleServer:
    """The map outputs of this node, by id."""

    files: FileSystem
    _paths: dict[OutputId, str] = field(default_factory=dict)

    def handlers(self) -> Mapping[str, Handler]:
        return {SHUFFLE_FETCH: self._serve_chunk}

    def announce(self, output: OutputId, path: str) -> None:
        """From now on this file can be fetched; it lies in a folder of its attempt, in that of its job."""
        self._paths[output] = path

    @property
    def serves_any(self) -> bool:
        """Whether there is an output of a job that is not over."""
        return bool(self._paths)

    def forget(self, job: str) -> None:
        """Serve nothing of this job any more; its files may be removed afterwards."""
        for output in [output for output in self._paths if output.job == job]:
            del self._paths[output]

    async def _serve_chunk(self, incoming: Incoming) -> bytes:
        with well_formed("a request for a map output"):
            job, *numbers = msgpack.unpackb(incoming.body)
            task, attempt, offset, length = map(whole_number, numbers)
            path = self._paths.get(OutputId(job, task, attempt))
        if not 0 < length <= CHUNK_BYTES:
            raise InvalidArgument(f"asked for {length} bytes at {offset}; a chunk has 1 to {CHUNK_BYTES}")
        if path is None:
            raise NotFound(f"job {job}: no output of map-{task}.{attempt} on this node")
        try:
            return await self._read(path, offset, length)
        except OSError as error:
            kind = _REFUSALS.get(meaning_of(error), CorruptData)
            raise kind(f"job {job}: output of map-{task}.{attempt}: {error.strerror}") from error

    async def _read(self, path: str, offset: int, length: int) -> bytes:
        """Opened anew each time: a node may hold more outputs than descriptors.

        The tasks of the job write in the folder of the attempt and may put a link or a pipe there.
        """
        file = self.files.open_below(posixpath.dirname(posixpath.dirname(path)), path)
        try:
            cached = file.pread_cached(length, offset)
            return await file.pread_off_loop(length, offset) if cached is None else cached
        finally:
            file.close()
