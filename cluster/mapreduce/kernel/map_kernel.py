"""Runs one map task: passes records to map, groups its pairs in a buffer, writes one sorted run.

The buffer is a dict, so that each key is encoded, partitioned and compared once however often it occurs.
When it exceeds its limit it is combined; if that does not help enough, it is spilled as a run.  At the end
the spills are merged and combined once more.  A combiner must not change the result, so it is not called for
a key with one value.  A key for which it gives nothing is gone, at whichever time it is called.

I/O only through the FileSystem passed in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress, islice, repeat
from operator import itemgetter, mod
from typing import Any, Final, TypeAlias

from xxhash import xxh3_64_intdigest

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.batches import keys_of, pairs_of
from ringmill.cluster.mapreduce.api.commands import ExternalCommand
from ringmill.cluster.mapreduce.api.folds import BoundFold, Count, Sum
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.attempt_figures import PhaseTimes
from ringmill.cluster.mapreduce.calls import pairs_over
from ringmill.cluster.mapreduce.codecs.signatures import Gives
from ringmill.cluster.mapreduce.codecs.value_codecs import ValueCodec
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, not_pairs, shown
from ringmill.cluster.mapreduce.files.external_sort import merge_group_lists, merge_groups, narrow
from ringmill.cluster.mapreduce.files.part_file import PartFile
from ringmill.cluster.mapreduce.files.rendering import Rendered, rendered, rendered_keys
from ringmill.cluster.mapreduce.files.run_file import Group, RunWriter, read_groups
from ringmill.cluster.mapreduce.footprint import RecordSizes
from ringmill.cluster.mapreduce.heavy_keys import KEY_CHARS, HeavyKey, KeyWeights
from ringmill.cluster.mapreduce.kernel.buffers import (
    Buffer,
    FoldBuffer,
    KeyBuffer,
    ListBuffer,
    LongGroup,
    PairBuffer,
    Shorten,
)
from ringmill.cluster.mapreduce.kernel.hashed.row_files import put_together, write_rows
from ringmill.cluster.mapreduce.kernel.key_kernel import KeyFiles, cut_at
from ringmill.cluster.mapreduce.kernel.key_ranges import digest_of_ranges
from ringmill.cluster.mapreduce.kernel.set_aside import LINES, SetAside
from ringmill.cluster.mapreduce.outputs import PartitionSlice, Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["RUN_NAME", "MapKernel", "MapTotals"]

Pair: TypeAlias = tuple[Any, Any]

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
    heavy: tuple[HeavyKey, ...] = ()


class MapKernel:
    """One attempt of a map task; used once, as what it has spilled and counted cannot be taken back."""

    def __init__(
        self,
        job: JobDefinition,
        *,
        files: FileSystem,
        folder: str,
        partitions: int,
        part: int,
        ranges: list[bytes] | None,
        memory_bytes: int,
        compression: str,
        output_format: str,
        context: Context,
        phases: PhaseTimes,
        aside: SetAside | None = None,
        final: PartFile | None = None,
    ) -> None:
        """`aside` takes records at which map raises an error; they are one partition more.  `final` takes the
        output in place of a run, where nothing reduces."""
        self._job = job
        self._aside = aside
        self._final = final
        self._phases = phases
        self._files = files
        self._folder = folder
        self._partitions = partitions
        self._part = part
        self._ranges = ranges
        self._mark = b"" if ranges is None else digest_of_ranges(ranges)
        self._memory = memory_bytes
        self._compression = compression
        self._output_format = output_format
        self._context = context
        self._map = partial(job.map, ctx=context) if job.map_signature.wants_context else job.map
        self._shorten = _shortening(job, context)
        self._buffer = _buffer_for(job, self._shorten)
        self._sizes = RecordSizes(memory_bytes)
        self._weights = KeyWeights(partitions)
        self._spills: list[tuple[str, tuple[PartitionSlice, ...]]] = []

    def run(self, blocks: Iterable[Iterable[tuple[Any, Any]]]) -> MapTotals:
        """Map every record of every block and leave one run.

        Raises what the job's functions raise, TaskFailed for output that is not what was declared, OSError.
        """
        records, wants_context = chain.from_iterable(blocks), self._job.map_signature.wants_context
        if self._aside is not None:
            return self._run(chain.from_iterable(self._aside.results_of(self._map, records)))
        return self._run(pairs_over(self._job.map, records, self._context, wants_context=wants_context))

    def run_batches(self, batches: Iterable[tuple[int, Any]]) -> MapTotals:
        """Map every batch, given with where it begins, and leave one run.  Raises like `run`."""
        signature = self._job.map_signature
        wants_start = signature.first is not None
        results: Iterator[Any]
        results = (self._map(*each) if wants_start else self._map(each[1]) for each in batches)
        if isinstance(self._job.map, ExternalCommand):
            results = self._job.map.mapped(batches, self._context)
        if self._job.keys_alone:
            return self._run_keys(keys_of(result, signature.where) for result in results)
        pairs: Iterator[Iterable[Pair]]
        pairs = (pairs_of(result, signature.gives, signature.where) for result in results)
        if _counts_keys(self._job):
            pairs = map(self._counted, pairs)
        return self._run(chain.from_iterable(pairs))

    def _counted(self, pairs: Iterable[tuple[Any, None]]) -> Iterable[tuple[Any, int]]:
        """How often each key occurs, counted in C: what Count() would make of the pairs one by one."""
        counts = Counter(map(_KEY, pairs))
        self._buffer.taken += counts.total() - len(counts)
        return counts.items()

    def _run(self, pairs: Iterator[tuple[Any, Any]]) -> MapTotals:
        if self._job.order == "input":
            return self._pass_on(pairs)
        self._phases.enter("map")
        self._fill(pairs)
        self._phases.enter("write")
        if self._spills:
            self._spill()
            self._phases.enter("merge")
            path, partitions = self._merge_spills()
        else:
            path = f"{self._folder}/{RUN_NAME}"
            partitions = self._write(path, is_last=True)
        return MapTotals(path, partitions, self._buffer.taken, len(self._spills), self._heavy())

    def _pass_on(self, pairs: Iterator[Pair]) -> MapTotals:
        """Leave the records of the output as they come, rendered, for the one part that holds this split."""
        self._phases.enter("map")
        where = self._job.map_signature.where
        return self._leave_in_order(rendered(pairs, self._output_format, "map", where, self._job.record_form))

    def _leave_in_order(self, batches: Iterator[Rendered]) -> MapTotals:
        if self._final is not None:
            return self._leave_part(self._final, batches)
        path, given = f"{self._folder}/{RUN_NAME}", 0

        def groups() -> Iterator[Group]:
            nonlocal given
            for records, data in batches:
                given += records
                yield b"", ((records, data),)

        writer = self._writer(path)
        for number in range(self._partitions):
            writer.write_partition(groups() if number == self._part else ())
        return MapTotals(path, self._finish(writer), given, 0)

    def _leave_part(self, part: PartFile, batches: Iterator[Rendered]) -> MapTotals:
        part.write_all(batches)
        self._phases.enter("sync")
        part.finish()
        return MapTotals(part.path, (part.totals.as_slice,), part.totals.records, 0)

    def _run_keys(self, batches: Iterator[Sequence[Any]]) -> MapTotals:
        """The same for keys without values that nothing combines or reduces."""
        self._phases.enter("map")
        if self._job.order == "input":
            format, types = self._output_format, self._job.record_form
            return self._leave_in_order(
                (len(keys), rendered_keys(keys, format, types)) for keys in batches if keys
            )
        buffer, kept = KeyBuffer(), KeyFiles(self._job, self._files, self._compression)
        for keys in batches:
            buffer.take(keys)
            if buffer.estimate() > self._memory:
                self._phases.enter("spill")
                path = self._spill_name()
                self._spills.append((path, kept.write(path, self._sorted_keys(buffer), b"")))
                self._phases.enter("map")
        self._phases.enter("write")
        path = f"{self._folder}/{RUN_NAME}"
        if not self._spills:
            partitions = kept.write(path, self._sorted_keys(buffer), self._mark)
            return MapTotals(path, partitions, buffer.taken, 0, self._heavy())
        last = self._spill_name()
        self._spills.append((last, kept.write(last, self._sorted_keys(buffer), b"")))
        self._phases.enter("merge")
        spilled = [
            [_slice_of(spill, index[number]) for spill, index in self._spills]
            for number in range(self._partitions)
        ]
        partitions = kept.merge(path, spilled, self._mark, self._merge_name)
        for spill, _ in self._spills:
            self._files.unlink(spill)
        return MapTotals(path, partitions, buffer.taken, len(self._spills), self._heavy())

    def _sorted_keys(self, buffer: KeyBuffer) -> Iterator[list[bytes]]:
        """The buffer's keys, encoded, a sorted list for each partition."""
        keys = buffer.leave()
        try:
            encoded = self._job.key_codec.encode_all(keys)
        except InvalidArgument as error:
            raise self._wrong_output(error) from error
        self._weights.take_records(encoded)
        if self._ranges is not None:
            encoded.sort()
            yield from cut_at(self._ranges, encoded, self._partitions)
            return
        buckets: list[list[bytes]] = [[] for _ in range(self._partitions)]
        for place, key in zip(self._places(keys, encoded, self._heads(encoded)), encoded, strict=True):
            buckets[place].append(key)
        for bucket in buckets:
            bucket.sort()
            yield bucket

    def _fill(self, pairs: Iterator[tuple[Any, Any]]) -> None:
        buffer, sizes = self._buffer, self._sizes
        try:
            while buffer.take(pairs, sizes):
                if sizes.estimate(len(buffer), buffer.overhead) > self._memory:
                    self._phases.enter("spill")
                    self._shrink()
                    self._phases.enter("map")
        except (TypeError, ValueError) as error:
            raise not_pairs(error, "map", self._job.map_signature.where) from error

    def _shrink(self) -> None:
        """Combine; spill when that leaves more than half of the bound."""
        if self._shorten is not None:
            self._buffer.shorten(self._sizes)
            if self._sizes.estimate(len(self._buffer)) <= self._memory // 2:
                return
        self._spill()
        self._sizes.kept(0)

    def _spill(self) -> None:
        path = self._spill_name()
        self._spills.append((path, self._write(path)))

    def _spill_name(self) -> str:
        return f"{self._folder}/spill-{len(self._spills):05d}.run"

    def _write(self, path: str, *, is_last: bool = False) -> tuple[PartitionSlice, ...]:
        """Leave the buffer in a run, sorted, and empty it."""
        self._buffer.shorten()
        try:
            return self._write_sorted(path, is_last)
        except InvalidArgument as error:
            raise self._wrong_output(error) from error

    def _wrong_output(self, error: InvalidArgument) -> TaskFailed:
        return TaskFailed(Cause.USER_ERROR, f"map {self._job.map_signature.where} gave {error}")

    def _finish(self, writer: RunWriter) -> tuple[PartitionSlice, ...]:
        """The end of the run that the task leaves: the records that were set aside, if the job has any."""
        if self._aside is not None:
            writer.write_other(self._aside.lines(), LINES)
        return writer.finish(if_empty=False)

    def _write_sorted(self, path: str, is_last: bool) -> tuple[PartitionSlice, ...]:
        keys, values = self._buffer.leave()
        encoded = self._job.key_codec.encode_all(keys)
        heads = self._heads(encoded)
        places = self._places(keys, encoded, heads)
        self._weigh(heads, values)
        writer = self._writer(path)
        if (side := self._job.side_of_rows) is not None:
            write_rows(writer, side, self._partitions, zip(places, encoded, values, strict=True))
            return self._finish(writer) if is_last else writer.finish()
        has_lists = self._buffer.has_lists
        if has_lists and set(map(len, values)) == {1}:  # what a combine leaves, as a rule
            has_lists, values = False, list(chain.from_iterable(values))
        if len(kept := dict(zip(encoded, values, strict=True))) == len(encoded):
            placed: Iterable[tuple[int, bytes]] = zip(places, encoded, strict=True)
            placed = compress(placed, values) if has_lists else placed  # a combine may leave nothing
            self._write_kept(writer.write_lists if has_lists else writer.write_singles, placed, kept)
        else:  # keys that differ for Python have the same bytes: reduce merges them
            groups = values if has_lists else zip(values, strict=True)
            self._write_groups(writer, zip(places, encoded, groups, strict=True))
        return self._finish(writer) if is_last else writer.finish()

    def _weigh(self, heads: Sequence[bytes], values: Sequence[Any]) -> None:
        """Note which groups have most of what is written now."""
        if not self._buffer.has_lists:
            if isinstance(self._buffer, PairBuffer):  # else each key has one value
                self._weights.take_records(heads)
            return
        counts = list(map(len, values))
        if self._job.group_prefix is None:
            self._weights.take_lists(heads, counts)
        elif max(counts, default=0) < 2:
            self._weights.take_records(heads)
        else:
            groups = Counter[bytes]()
            for head, count in zip(heads, counts, strict=True):
                groups[head] += count
            self._weights.take_lists(list(groups), list(groups.values()))

    def _heavy(self) -> tuple[HeavyKey, ...]:
        """The keys with most of what the task leaves, as people read them; of groups their prefix."""
        if not (weighed := self._weights.heaviest()):
            return ()
        prefix, heads = self._job.group_prefix, [head for head, _ in weighed]
        keys = self._job.key_codec.decode_all(heads) if prefix is None else list(map(prefix.decode, heads))
        return tuple(
            HeavyKey(xxh3_64_intdigest(head), shown(key, KEY_CHARS), place, records)
            for (head, records), key, place in zip(
                weighed, keys, self._places_of_groups(keys, heads), strict=True
            )
        )

    def _write_groups(self, writer: RunWriter, placed: Iterable[tuple[int, bytes, Sequence[Any]]]) -> None:
        buckets: list[list[Group]] = [[] for _ in range(self._partitions)]
        for place, key, values in placed:
            buckets[place].append((key, values))
        for bucket in buckets:
            bucket.sort(key=_KEY)
            writer.write_partition(filter(_VALUES, bucket), self._mark)
            bucket.clear()

    def _write_kept(
        self,
        write: Callable[[Iterable[tuple[list[bytes], list[Any]]], bytes], None],
        placed: Iterable[tuple[int, bytes]],
        kept: dict[bytes, Any],
    ) -> None:
        """Write what is kept of each key with `write`, partition by partition."""
        buckets: list[list[bytes]] = [[] for _ in range(self._partitions)]
        for place, key in placed:
            buckets[place].append(key)
        for bucket in buckets:
            bucket.sort()
            write(((bucket, list(map(kept.__getitem__, bucket))),), self._mark)

    def _heads(self, encoded: Sequence[bytes]) -> Sequence[bytes]:
        """What all keys of a group begin with, and no others; without groups the keys."""
        prefix = self._job.group_prefix
        return encoded if prefix is None else prefix.cut_all(encoded)

    def _places(self, keys: Sequence[Any], encoded: Sequence[bytes], heads: Sequence[bytes]) -> Iterator[int]:
        """The partition of each key."""
        if self._job.partition is not None:
            if self._job.key_codec.has_floats:  # equal keys are one, in every split
                keys = self._job.key_codec.decode_all(list(encoded))
            if (prefix := self._job.group_prefix) is not None:  # a group has one part
                keys = list(map(prefix.of, keys))
        return self._places_of_groups(keys, heads)

    def _places_of_groups(self, keys: Sequence[Any], heads: Sequence[bytes]) -> Iterator[int]:
        count, chosen = self._partitions, self._job.partition
        if self._ranges is not None:
            return map(partial(bisect_right, self._ranges), heads)
        if chosen is not None:
            return (_checked_place(chosen(key, count), key, count) for key in keys)
        # By the hash of the encoding, so that every node and every attempt sends a key to the same reducer.
        return map(mod, map(xxh3_64_intdigest, heads), repeat(count))

    def _merge_spills(self) -> tuple[str, tuple[PartitionSlice, ...]]:
        path = f"{self._folder}/{RUN_NAME}"
        writer = self._writer(path)
        for partition in range(self._partitions):
            slices = [_slice_of(spill, index[partition]) for spill, index in self._spills]
            if (side := self._job.side_of_rows) is not None:
                put_together(writer, side, slices, self._files, self._job.value_codec)
                continue
            narrowed = narrow(
                slices,
                self._job.value_codec,
                self._files,
                name_of=partial(self._merge_name, partition),
                compression=self._compression,
            )
            if self._shorten is None:  # the groups stay in the pieces in which they were spilled
                merged = merge_group_lists(narrowed, self._job.value_codec, self._files)
                writer.write_lists(map(_unzipped, merged), self._mark)
            else:
                writer.write_partition(self._recombined(narrowed, self._shorten), self._mark)
        for spill, _ in self._spills:
            self._files.unlink(spill)
        return path, self._finish(writer)

    def _merge_name(self, partition: int, number: int) -> str:
        return f"{self._folder}/merge-{partition:05d}-{number:05d}.run"

    def _recombined(self, slices: Sequence[Slice], shorten: Shorten) -> Iterator[Group]:
        """The merged groups, shortened by the combiner."""
        streams = [read_groups(self._files, each, self._job.value_codec) for each in slices]
        for key, values in merge_groups(streams):
            first = list(islice(values, 2))
            if len(first) < 2:
                yield key, first
            else:
                decoded = self._job.key_codec.decode(key)
                for _, kept in shorten(((decoded, chain(first, values)),)):
                    if kept:
                        yield key, kept

    def _writer(self, path: str) -> RunWriter:
        return RunWriter(self._files, path, self._job.value_codec, self._compression)


def _counts_keys(job: JobDefinition) -> bool:
    fold = job.combine_fold
    return job.map_signature.gives is Gives.KEYS and fold is not None and isinstance(fold.fold, Count)


def _buffer_for(job: JobDefinition, shorten: Shorten | None) -> Buffer:
    fold = job.combine_fold
    if _counts_keys(job):
        return FoldBuffer(Sum().bind(int, job.map_signature.where))
    if shorten is None and job.reduce is None and job.reduce_fold is None and job.update is None:
        return PairBuffer()
    return ListBuffer(shorten) if fold is None or fold.add is None else FoldBuffer(fold)


def _shortening(job: JobDefinition, context: Context) -> Shorten | None:
    """What combines the values of keys: a fold, the job's function, or nothing."""
    if job.combine_fold is not None:
        return partial(_folded, job.combine_fold, job.value_codec)
    combine, signature = job.combine, job.combine_signature
    if combine is None or signature is None:
        return None
    wants = signature.wants_context
    return partial(_combined, partial(combine, ctx=context) if wants else combine, signature.where)


def _folded(
    fold: BoundFold, codec: ValueCodec, groups: Iterable[LongGroup]
) -> Iterator[tuple[Any, list[Any]]]:
    for key, values in groups:
        held = list(values)
        codec.check(held)
        yield key, fold.shorten(held)


def _combined(
    combine: Callable[..., Iterable[tuple[Any, Any]]], where: str, groups: Iterable[LongGroup]
) -> Iterator[tuple[Any, list[Any]]]:
    """In one loop, as a job has more groups than it has of anything but pairs."""
    for key, values in groups:
        kept = []
        try:
            for out_key, value in combine(key, iter(values)):
                if out_key is not key and out_key != key:
                    keys = f"the key {shown(key, 100)}, not give {shown(out_key, 100)}"
                    raise TaskFailed(Cause.USER_ERROR, f"combine {where} must keep {keys}")
                kept.append(value)
        except (TypeError, ValueError) as error:
            raise not_pairs(error, "combine", where) from error
        yield key, kept


def _checked_place(place: Any, key: Any, count: int) -> int:
    if type(place) is not int or not 0 <= place < count:
        message = (
            f"partition gave {shown(place, 100)} for key {shown(key, 100)}; there are parts 0 to {count - 1}"
        )
        raise TaskFailed(Cause.USER_ERROR, message)
    return place


def _unzipped(groups: Sequence[Group]) -> tuple[list[bytes], list[Sequence[Any]]]:
    return list(map(_KEY, groups)), list(map(_VALUES, groups))


def _slice_of(path: str, where: PartitionSlice) -> Slice:
    return Slice(path, where.offset, where.length, where.raw_bytes, where.records)
