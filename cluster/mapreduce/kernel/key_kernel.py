"""Runs the map and the reduce of a job whose output is keys alone: lists of keys, sorted as lists.

No key has a tuple, a group or a call of its own; that is what makes sorting lines cheap.

I/O only through the FileSystem passed in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.files.external_sort import merge_keys, narrow
from ringmill.cluster.mapreduce.files.rendering import Rendered, rendered_keys
from ringmill.cluster.mapreduce.files.run_file import RunWriter
from ringmill.cluster.mapreduce.outputs import PartitionSlice, Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["KeyFiles", "cut_at"]


class KeyFiles:
    """Writes runs of keys alone and merges them.  `name_of` names the runs of intermediate merges."""

    def __init__(self, job: JobDefinition, files: FileSystem, compression: str) -> None:
        self._codec = job.value_codec
        self._keys = job.key_codec
        self._format, self._types = job.output.format, job.record_form
        self._files = files
        self._compression = compression

    def write(self, path: str, partitions: Iterable[list[bytes]], mark: bytes) -> tuple[PartitionSlice, ...]:
        """Leave the sorted keys of each partition in a run."""
        writer = RunWriter(self._files, path, self._codec, self._compression)
        for keys in partitions:
            writer.write_singles(((keys, [None] * len(keys)),), mark)
        return writer.finish()

    def merge(
        self,
        path: str,
        partitions: Iterable[Sequence[Slice]],
        mark: bytes,
        name_of: Callable[[int, int], str],
    ) -> tuple[PartitionSlice, ...]:
        """Leave the merged slices of each partition in a run."""
        writer = RunWriter(self._files, path, self._codec, self._compression)
        for number, slices in enumerate(partitions):
            blocks = self._merged(slices, partial(name_of, number))
            writer.write_singles(((keys, [None] * len(keys)) for keys in blocks), mark)
        return writer.finish()

    def rendered(self, slices: Sequence[Slice], name_of: Callable[[int], str]) -> Iterator[Rendered]:
        """The records of the output.

        Raises CorruptData, TaskFailed for a key that the format cannot hold.
        """
        for keys in self._merged(slices, name_of):
            yield len(keys), rendered_keys(self._keys.decode_all(keys), self._format, self._types)

    def _merged(self, slices: Sequence[Slice], name_of: Callable[[int], str]) -> Iterator[list[bytes]]:
        narrowed = narrow(slices, self._codec, self._files, name_of=name_of, compression=self._compression)
        return merge_keys(narrowed, self._codec, self._files)


def cut_at(ranges: Sequence[bytes], keys: list[bytes], partitions: int) -> Iterator[list[bytes]]:
    """Sorted keys as one list a range."""
    starts = [0, *(bisect_left(keys, key) for key in ranges)]
    ends = [*starts[1:], len(keys)]
    for start, end in zip(starts, ends, strict=True):
        yield keys[start:end]
    for _ in range(partitions - len(starts)):  # an empty sample has no ranges
        yield []
