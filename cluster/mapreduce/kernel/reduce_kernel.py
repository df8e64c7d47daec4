"""Runs one reduce task: merges slices of the map tasks' runs by key, calls reduce for each group, writes a
part.

Rows of a join by hash meet in hashed/hash_join.py.  Else there are two ways with the same result.  Slices
that fit into memory are gathered in a dict and sorted once.  Larger ones are merged as streams, so that a
group larger than memory passes through as it is read.  The values of a group are in the order of (split,
position).

Slices without records change nothing: a node does not fetch them, and a local run passes them on.  So a
program in place of reduce runs for a partition without records, too.

I/O only through the FileSystem passed in.  Rule J14: docs/protocol/jobs.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter, length_hint
from typing import Any, Final

from ringmill.cluster.mapreduce.api.commands import ExternalCommand
from ringmill.cluster.mapreduce.api.folds import BoundFold
from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.attempt_figures import PhaseTimes
from ringmill.cluster.mapreduce.calls import pairs_over
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.external_sort import merge_groups, merge_pairs, narrow
from ringmill.cluster.mapreduce.files.part_file import PartFile, PartTotals
from ringmill.cluster.mapreduce.files.rendering import Rendered, rendered
from ringmill.cluster.mapreduce.files.run_file import gather_groups, read_groups, read_mark, read_pairs
from ringmill.cluster.mapreduce.footprint import BLOWUP
from ringmill.cluster.mapreduce.kernel.hashed.hash_join import HashJoin
from ringmill.cluster.mapreduce.kernel.key_kernel import KeyFiles
from ringmill.cluster.mapreduce.kernel.set_aside import LINES
from ringmill.cluster.mapreduce.kernel.states_part import StatesPart
from ringmill.cluster.mapreduce.kernel.updating import Updating
from ringmill.cluster.mapreduce.outputs import Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["ReduceKernel"]

_KEY: Final = itemgetter(0)
_VALUE: Final = itemgetter(1)
_GATHERING: Final = 0.2  # of the work of a reduce that fits into memory


class ReduceKernel:
    """Runs one reduce task."""

    def __init__(
        self,
        job: JobDefinition,
        *,
        files: FileSystem,
        folder: str,
        memory_bytes: int,
        compression: str,
        output_format: str,
        context: Context,
        phases: PhaseTimes,
        states: StatesPart | None = None,
        hash_join: HashJoin | None = None,
    ) -> None:
        """`states` are those that a job with update has of this partition; `hash_join` of a join by hash."""
        self._job = job
        self._hash_join = hash_join
        self._states = states
        self._phases = phases
        self._files = files
        self._folder = folder
        self._memory = memory_bytes
        self._compression = compression
        self._output_format = output_format
        self._context = context
        self._bytes_gone = 0
        self._bytes_due = 1
        self._groups_due = 1
        self._left: Iterator[bytes] | None = None  # keys in memory
        self._keys_in_memory = 0  # that are a group each
        self._reading = 1.0  # the part of reading in the work; the rest goes by groups
        self._counted_groups = 0
        self._updating: Updating | None = None

    @property
    def groups(self) -> int:
        """How many went in."""
        if self._updating is not None:
            return self._updating.keys
        if self._hash_join is not None:
            return self._hash_join.keys_held
        begun = self._keys_in_memory - length_hint(self._left) if self._left and self._keys_in_memory else 0
        return self._counted_groups + begun

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        due = self._groups_due if self._updating is None else self._updating.due
        taken = self.groups if self._left is None else due - length_hint(self._left)
        read, gone = self._bytes_gone / self._bytes_due, taken / due
        return self._reading * min(1.0, read) + (1 - self._reading) * min(1.0, gone)

    def _gone(self, size: int) -> None:
        self._bytes_gone += size

    def run_aside(self, slices: Sequence[Slice], part: PartFile) -> PartTotals:
        """Write the records that the maps have set aside, in the order of their splits."""
        part.write_all(self._set_aside(slices))
        part.finish()
        return part.totals

    def _set_aside(self, slices: Sequence[Slice]) -> Iterator[Rendered]:
        for each in slices:
            for _, lines in read_groups(self._files, each, LINES):
                self._counted_groups += 1
                for line in lines:
                    yield 1, line

    def run(self, slices: Sequence[Slice], part: PartFile) -> PartTotals:
        """Reduce every group into the part file.

        Raises what the job's reduce raises, CorruptData, OSError.
        """
        self._phases.enter("reduce")
        part.write_all(self._rendered(slices))
        self._phases.enter("sync")
        part.finish()
        return part.totals

    def _rendered(self, slices: Sequence[Slice]) -> Iterator[Rendered]:
        if self._job.order == "input":
            return self._passed_on(slices)
        if self._job.order == "total":
            self._compare_marks(slices)
        if self._job.keys_alone:
            return self._keys_alone(slices)
        if self._job.update is not None:
            return self._updated(slices)
        last = self._job.last_signature
        return rendered(self._pairs(slices), self._output_format, "reduce", last.where, self._job.record_form)

    def _keys_alone(self, slices: Sequence[Slice]) -> Iterator[Rendered]:
        self._reading, self._groups_due = 0.0, _records_of(slices)  # a group is a record here
        kept = KeyFiles(self._job, self._files, self._compression)
        for records, data in kept.rendered(slices, self._merge_name):
            self._counted_groups += records
            yield records, data

    def _updated(self, slices: Sequence[Slice]) -> Iterator[Rendered]:
        """The new states.  Messages to a key with a fold are one value."""
        assert self._states is not None
        job, updating = self._job, Updating(self._job, self._context)
        self._updating = updating
        fold = job.combine_fold if job.combine_fold is not None and job.combine_fold.is_one_value else None
        blocks = self._states.blocks(self._gone)
        if _fits(slices, self._memory):
            self._phases.enter("merge")
            self._reading, self._bytes_due = _GATHERING, _bytes_of(slices)
            messages = self._messages(slices, fold)
            self._phases.enter("reduce")
            return updating.gathered(blocks, messages, self._states.records)
        narrowed = self._narrowed(slices)
        self._bytes_due = _bytes_of(narrowed) + self._states.size
        groups = merge_groups(
            [read_groups(self._files, each, job.value_codec, self._gone) for each in narrowed]
        )
        if fold is not None:
            groups = ((key, iter((fold.finish(values),))) for key, values in groups)
        return updating.streamed(blocks, groups)

    def _messages(self, slices: Sequence[Slice], fold: BoundFold | None) -> dict[bytes, Any]:
        """All messages by key, folded where there is a fold."""
        if fold is not None and fold.merge is not None:
            return {key: (total,) for key, total in self._totals(slices, fold.merge).items()}
        lists = self._lists(slices)
        if fold is not None:
            return {key: (fold.finish(values),) for key, values in lists.items()}
        return dict(lists)

    def _totals(
        self, slices: Sequence[Slice], merge: Callable[[dict[bytes, Any], Iterable[tuple[bytes, Any]]], None]
    ) -> dict[bytes, Any]:
        """The total of each key, by a fold that keeps one value a key."""
        totals: dict[bytes, Any] = {}
        for each in slices:
            for pairs in read_pairs(self._files, each, self._job.value_codec, self._gone):
                merge(totals, pairs)
        return totals

    def _lists(self, slices: Sequence[Slice]) -> defaultdict[bytes, list[Any]]:
        """All values of each key."""
        gathered: defaultdict[bytes, list[Any]] = defaultdict(list)
        for each in slices:
            gather_groups(self._files, each, self._job.value_codec, gathered, self._gone)
        return gathered

    def _passed_on(self, slices: Sequence[Slice]) -> Iterator[Rendered]:
        """What the maps have rendered, in the order of their splits."""
        self._bytes_due = _bytes_of(slices)
        for each in slices:
            for _, batches in read_groups(self._files, each, self._job.value_codec, self._gone):
                self._counted_groups += 1
                yield from batches

    def _pairs(self, slices: Sequence[Slice]) -> Iterator[tuple[Any, Any]]:
        if self._hash_join is not None:
            self._bytes_due = _bytes_of(slices)
            return self._hash_join.pairs(slices, self._gone)
        if self._job.reduce is None and self._job.reduce_fold is None:
            return self._merged(slices)
        fits = _fits(slices, self._memory)
        fold = self._job.reduce_fold
        if fits and fold is not None and fold.merge is not None and self._job.group_prefix is None:
            return self._folded(slices, fold.merge)
        groups = self._gathered(slices) if fits else self._streamed(slices)
        reduce, signature = self._job.reduce, self._job.reduce_signature
        if isinstance(reduce, ExternalCommand):
            return reduce.reduced(groups, self._context)
        if fold is not None:
            return ((key, fold.finish(values)) for key, values in groups)
        assert reduce is not None
        assert signature is not None
        return pairs_over(reduce, groups, self._context, wants_context=signature.wants_context)

    def _merged(self, slices: Sequence[Slice]) -> Iterator[tuple[Any, Any]]:
        """The records as they are, sorted, of a job without reduce."""
        codec, decode_all = self._job.value_codec, self._job.key_codec.decode_all
        self._reading, self._groups_due = 0.0, _records_of(slices)
        narrowed = self._narrowed(slices)
        for block in merge_pairs(narrowed, codec, self._files):
            self._counted_groups += len(block)
            yield from zip(decode_all([key for key, _ in block]), map(_VALUE, block), strict=True)

    def _folded(
        self,
        slices: Sequence[Slice],
        merge: Callable[[dict[bytes, Any], Iterable[tuple[bytes, Any]]], None],
    ) -> Iterator[tuple[Any, Any]]:
        """What a fold that keeps one value a key makes of slices that fit into memory."""
        self._phases.enter("merge")
        self._reading, self._bytes_due, self._groups_due = _GATHERING, _bytes_of(slices), _records_of(slices)
        totals = self._totals(slices, merge)
        keys = sorted(totals)
        self._groups_due = max(1, len(keys))
        self._phases.enter("reduce")
        decoded = self._job.key_codec.decode_all(keys)
        for key, value in zip(decoded, map(totals.__getitem__, keys), strict=True):
            self._counted_groups += 1
            yield key, value

    def _compare_marks(self, slices: Sequence[Slice]) -> None:
        codec, where = self._job.value_codec, self._job.map_signature.where
        if len({read_mark(self._files, each, codec) for each in slices}) > 1:
            raise TaskFailed(
                Cause.USER_ERROR,
                f"map {where} gave two tasks other keys for the same sample, so that parts have no common "
                "order; order='total' needs a map that gives the same for the same record",
            )

    def _gathered(self, slices: Sequence[Slice]) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Groups that lie in memory: no step of Python for each, but for those by a part of the key."""
        self._phases.enter("merge")
        self._reading, self._bytes_due, self._groups_due = _GATHERING, _bytes_of(slices), _records_of(slices)
        gathered = self._lists(slices)
        in_order = sorted(gathered)
        self._groups_due = max(1, len(in_order))
        self._phases.enter("reduce")
        self._left = iter(in_order)
        lists = map(gathered.__getitem__, self._left)
        if (prefix := self._job.group_prefix) is not None:
            heads = zip(prefix.cut_all(in_order), lists, strict=True)
            return self._counted(_regrouped(heads), prefix.decode)
        self._keys_in_memory = len(in_order)
        return zip(self._job.key_codec.decode_all(in_order), map(iter, lists), strict=True)

    def _streamed(self, slices: Sequence[Slice]) -> Iterator[tuple[Any, Iterator[Any]]]:
        codec, narrowed, prefix = self._job.value_codec, self._narrowed(slices), self._job.group_prefix
        self._bytes_due = _bytes_of(narrowed)
        groups = merge_groups([read_groups(self._files, each, codec, self._gone) for each in narrowed])
        if prefix is None:
            return self._counted(groups, self._job.key_codec.decode)
        return self._counted(_regrouped((prefix.cut(key), values) for key, values in groups), prefix.decode)

    def _counted(
        self, groups: Iterator[tuple[bytes, Iterator[Any]]], decode: Callable[[bytes], Any]
    ) -> Iterator[tuple[Any, Iterator[Any]]]:
        for key, values in groups:
            self._counted_groups += 1
            yield decode(key), values

    def _narrowed(self, slices: Sequence[Slice]) -> Sequence[Slice]:
        """As few as can be merged at once."""
        self._phases.enter("merge")
        fewer = narrow(
            slices,
            self._job.value_codec,
            self._files,
            name_of=self._merge_name,
            compression=self._compression,
        )
        self._phases.enter("reduce")
        return fewer

    def _merge_name(self, number: int) -> str:
        return f"{self._folder}/merge-{number:05d}.run"


def _fits(slices: Sequence[Slice], memory_bytes: int) -> bool:
    """Whether all records may be in memory at once."""
    return sum(each.raw_bytes for each in slices) * BLOWUP <= memory_bytes


def _bytes_of(slices: Sequence[Slice]) -> int:
    return max(1, sum(each.length for each in slices))


def _records_of(slices: Sequence[Slice]) -> int:
    return max(1, sum(each.records for each in slices))


def _regrouped(groups: Iterable[tuple[bytes, Iterable[Any]]]) -> Iterator[tuple[bytes, Iterator[Any]]]:
    """Neighbours with the same key as one group, whose values still come as they are read."""
    for key, pieces in groupby(groups, _KEY):
        yield key, chain.from_iterable(map(_VALUE, pieces))
