"""A map task of a co-partitioned join: it maps its partitions of both keyspaces, and joins the rows at once.

The right side is held and the left one streams past, so the pairs are in the order of the left keyspace's
scan, and of an inner or left join the parts one after the other are what one task would give.

I/O only through the FileSystem passed in.  Rule J15: docs/protocol/jobs.md.
"""

from __future__ import annotations

from typing import Final

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.api.joining.join_steps import LEFT, RIGHT
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.attempt_figures import PhaseTimes
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.files.part_file import PartFile
from ringmill.cluster.mapreduce.files.readers import SplitReader
from ringmill.cluster.mapreduce.files.rendering import rendered
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.kernel.hashed.hash_join import HashJoin
from ringmill.cluster.mapreduce.kernel.hashed.row_files import as_hashed
from ringmill.cluster.mapreduce.kernel.map_kernel import MapKernel
from ringmill.cluster.mapreduce.outputs import Slice
from ringmill.cluster.ports import FileSystem

__all__ = ["CopartitionedTask"]

_UNCOMPRESSED: Final = "none"  # rows that this task alone reads again


class CopartitionedTask:
    """One attempt; used once."""

    def __init__(
        self,
        job: JobDefinition,
        spec: JobSpec,
        split: Split,
        *,
        files: FileSystem,
        folder: str,
        context: Context,
        phases: PhaseTimes,
    ) -> None:
        """`split` has a file of each side; `folder` is where rows may lie until they are joined."""
        self._job, self._spec, self._split = job, spec, split
        self._files, self._folder = files, folder
        self._context, self._phases = context, phases
        self._sides = [as_hashed(job, side) for side in (LEFT, RIGHT)]
        self._readers = [self._reader(side) for side in (LEFT, RIGHT)]
        self._at = LEFT

    @property
    def reader(self) -> SplitReader:
        """Of the side that is read at present."""
        return self._readers[self._at]

    @property
    def bytes_done(self) -> int:
        return sum(each.bytes_done for each in self._readers)

    @property
    def records_read(self) -> int:
        return sum(each.records_read for each in self._readers)

    def run(self, part: PartFile) -> None:
        """Write the pairs.  Raises what the job's functions raise, TaskFailed, OSError."""
        joining, spec = self._job.joining, self._spec
        assert joining is not None
        slices = [self._mapped(side) for side in (LEFT, RIGHT)]
        self._phases.enter("reduce")
        meeting = HashJoin(
            joining, files=self._files, folder=self._folder, memory_bytes=spec.memory_bytes,
            compression=_UNCOMPRESSED, context=self._context, held=RIGHT,
        )  # fmt: skip
        where = joining.result_signature.where
        part.write_all(
            rendered(meeting.pairs(slices), spec.output_format, "reduce", where, self._job.record_form)
        )
        self._phases.enter("sync")
        part.finish()
        for side in (LEFT, RIGHT):
            self._files.remove_tree(self._side_folder(side))

    def _mapped(self, side: int) -> Slice:
        self._at, folder = side, self._side_folder(side)
        self._files.mkdir(folder)
        kernel = MapKernel(
            self._sides[side],
            files=self._files,
            folder=folder,
            partitions=1,
            part=0,
            ranges=None,
            memory_bytes=self._spec.memory_bytes,
            compression=_UNCOMPRESSED,
            output_format=self._spec.output_format,
            context=self._context,
            phases=self._phases,
        )
        totals = kernel.run(self._readers[side].records())
        (only,) = totals.partitions
        return Slice(totals.path, only.offset, only.length, only.raw_bytes, only.records)

    def _side_folder(self, side: int) -> str:
        return f"{self._folder}/side-{side}"

    def _reader(self, side: int) -> SplitReader:
        split = Split(self._split.index, self._split.pieces[side : side + 1], source=side)
        signature = self._sides[side].map_signature
        return SplitReader(
            split, self._spec.format_of(side), signature.second, files=self._files,
            context=self._context, key_hint=signature.first, where=signature.where,
        )  # fmt: skip
