"""Runs one map task: passes records to map, groups its pairs in a buffer, writes one sorted run.

The buffer is a dict of lists, so that each key is encoded, partitioned and compared once however often it
occurs.  When it exceeds its limit it is combined; if that does not help enough, it is spilled as a run.  At
the end the spills are merged and combined once more.  A combiner must not change the result, so it is not
called for a key with one value.

I/O only through the FileSystem passed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, starmap
from operator import itemgetter
from typing import Any, Final

from xxhash import xxh3_64_intdigest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.definition import JobDefinition
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, not_pairs, shown
from ringmill.cluster.mapreduce.files.external_sort import merge_groups, merge_slices, narrow
from ringmill.cluster.mapreduce.files.run_file import Group, RunWriter, read_groups
from ringmill.cluster.mapreduce.footprint import RecordSizes
from ringmill.cluster.mapreduce.outputs import PartitionSlice, Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["RUN_NAME", "MapKernel", "MapTotals"]

RUN_NAME: Final = "map.run"  # of the one file that a map attempt leaves in its folder

_KEY: Final = itemgetter(0)
_VALUES: Final = itemgetter(1)


@dataclass(frozen=True, slots=True)
class MapTotals:
    """Where the run is and what went into it.  `records_out` counts what map gave, before combining."""

    path: str
    partitions: tuple[PartitionSlice, ...]
    records_out: int
    spills: int


class MapKernel:
    """One attempt of a map task; used once, as what it has spilled and counted cannot be taken back."""

    def __init__(
        self,
        job: JobDefinition,
        *,
        files: FileSystem,
        folder: str,
        partitions: int,
        memory_bytes: int,
        compression: str,
        context: Context,
    ) -> None:
        self._job = job
        self._files = files
        self._folder = folder
        self._partitions = partitions
        self._memory = memory_bytes
        self._compression = compression
        self._map = partial(job.map, ctx=context) if job.map_signature.wants_context else job.map
        self._combine = _with_context(job, context)
        self._groups: defaultdict[Any, list[Any]] = defaultdict(list)
        self._sizes = RecordSizes(memory_bytes)
        self._spills: list[tuple[str, tuple[PartitionSlice, ...]]] = []
        self._records_out = 0
        self._carried = 0  # values in the buffer that were counted before

    def run(self, blocks: Iterable[Iterable[tuple[Any, Any]]]) -> MapTotals:
        """Map every record of every block and leave one run.

        Raises what the job's functions raise, TaskFailed for output that is not what was declared, OSError.
        """
        self._fill(chain.from_iterable(starmap(self._map, chain.from_iterable(blocks))))
        if self._spills:
            self._spill()
            path, partitions = self._merge_spills()
        else:
            path = f"{self._folder}/{RUN_NAME}"
            partitions = self._write(path)
        return MapTotals(path, partitions, self._records_out, len(self._spills))

    def _fill(self, pairs: Iterator[tuple[Any, Any]]) -> None:
        groups, sizes = self._groups, self._sizes
        try:
            for key, value in pairs:
                groups[key].append(value)
                sizes.sample(key, value)
                batch = sizes.batch
                for key, value in islice(pairs, batch - 1):  # noqa: PLW2901 - the hot loop
                    groups[key].append(value)
                if sizes.estimate(len(groups)) > self._memory:
                    self._shrink()
        except (TypeError, ValueError) as error:
            raise not_pairs(error, "map", self._job.map_signature.where) from error

    def _shrink(self) -> None:
        """Combine; spill when that leaves more than half of the bound."""
        if self._combine is not None:
            self._combine_buffer()
            self._sizes.kept(self._carried)
            if self._sizes.estimate(len(self._groups)) <= self._memory // 2:
                return
        self._spill()
        self._sizes.kept(0)

    def _count_buffer(self) -> None:
        """Records map gave since the last count; before the buffer is combined or left."""
        values = sum(map(len, self._groups.values()))
        self._records_out += values - self._carried
        self._carried = values

    def _combine_buffer(self) -> None:
        self._count_buffer()
        if self._combine is None:
            return
        groups = self._groups
        for key, values in groups.items():
            if len(values) > 1:
                groups[key] = self._combined(key, values)
        self._carried = sum(map(len, groups.values()))

    def _combined(self, key: Any, values: Iterable[Any]) -> list[Any]:
        """The values that stand for `values`."""
        combine, signature = self._combine, self._job.combine_signature
        assert combine is not None
        assert signature is not None
        kept = []
        try:
            for out_key, value in combine(key, iter(values)):
                if out_key != key:
                    keys = f"the key {shown(key, 100)}, not give {shown(out_key, 100)}"
                    message = f"combine {signature.where} must keep {keys}"
                    raise TaskFailed(Cause.USER_ERROR, message)
                kept.append(value)
        except (TypeError, ValueError) as error:
            raise not_pairs(error, "combine", signature.where) from error
        return kept

    def _spill(self) -> None:
        path = f"{self._folder}/spill-{len(self._spills):05d}.run"
        self._spills.append((path, self._write(path)))

    def _write(self, path: str) -> tuple[PartitionSlice, ...]:
        """Leave the buffer in a run, sorted, and empty it."""
        self._combine_buffer()
        try:
            return self._write_sorted(path)
        except InvalidArgument as error:
            raise TaskFailed(Cause.USER_ERROR, f"map {self._job.map_signature.where} gave {error}") from error

    def _write_sorted(self, path: str) -> tuple[PartitionSlice, ...]:
        encoded = self._job.key_codec.encode_all(self._groups)
        buckets: list[list[Group]] = [[] for _ in range(self._partitions)]
        # By the hash of the encoding, so that every node and every attempt sends a key to the same reducer.
        places = [buckets[number % self._partitions] for number in map(xxh3_64_intdigest, encoded)]
        for bucket, group in zip(places, zip(encoded, self._groups.values(), strict=True), strict=True):
            bucket.append(group)
        self._groups.clear()
        self._carried = 0
        writer = self._writer(path)
        for bucket in buckets:
            bucket.sort(key=_KEY)
            writer.write_partition(bucket if self._combine is None else filter(_VALUES, bucket))
            bucket.clear()
        return writer.finish()

    def _merge_spills(self) -> tuple[str, tuple[PartitionSlice, ...]]:
        path = f"{self._folder}/{RUN_NAME}"
        writer = self._writer(path)
        for partition in range(self._partitions):
            slices = [_slice_of(spill, index[partition]) for spill, index in self._spills]
            narrowed = narrow(
                slices,
                self._job.value_codec,
                self._files,
                name_of=self._merge_name(partition),
                compression=self._compression,
            )
            writer.write_partition(self._recombined(narrowed))
        for spill, _ in self._spills:
            self._files.unlink(spill)
        return path, writer.finish()

    def _merge_name(self, partition: int) -> Callable[[int], str]:
        return lambda number: f"{self._folder}/merge-{partition:05d}-{number:05d}.run"

    def _recombined(self, slices: Sequence[Slice]) -> Iterator[Group]:
        """The merged groups, shortened by the combiner.

        Without one they stay in the pieces in which they were spilled: each fits into a chunk.
        """
        if self._combine is None:
            yield from merge_slices(slices, self._job.value_codec, self._files)
            return
        streams = [read_groups(self._files, each, self._job.value_codec) for each in slices]
        for key, values in merge_groups(streams):
            first = list(islice(values, 2))
            if len(first) < 2:
                yield key, first
            else:
                decoded = self._job.key_codec.decode(key)
                yield key, self._combined(decoded, chain(first, values))

    def _writer(self, path: str) -> RunWriter:
        return RunWriter(self._files, path, self._job.value_codec, self._compression)


def _with_context(job: JobDefinition, context: Context) -> Callable[..., Iterable[tuple[Any, Any]]] | None:
    if job.combine is None or job.combine_signature is None or not job.combine_signature.wants_context:
        return job.combine
    return partial(job.combine, ctx=context)


def _slice_of(path: str, where: PartitionSlice) -> Slice:
    return Slice(path, where.offset, where.length, where.raw_bytes, where.records)
