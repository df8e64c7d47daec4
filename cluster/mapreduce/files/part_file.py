"""Writes the records of one reducer, or of one map where nothing reduces, as a part file, a batch at a time.

I/O only through the FileSystem passed in.

Rule J6: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Output".
"""

from __future__ import annotations

from collections.abc import Iterable

import google_crc32c

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.part_packer import Packer
from ringmill.cluster.mapreduce.files.rendering import Rendered
from ringmill.cluster.mapreduce.files.tables.part_forms import PartForm
from ringmill.cluster.mapreduce.outputs import PartitionSlice
from ringmill.cluster.ports import AppendFile, FileSystem

__all__ = ["PartFile", "PartTotals"]


class PartTotals:
    """Size and checksum of a part that is being written, as it is on the disk, and its records."""

    __slots__ = ("crc32c", "records", "size")

    def __init__(self) -> None:
        self.size = self.crc32c = self.records = 0

    @property
    def as_slice(self) -> PartitionSlice:
        """The part of a map, which is all that the map leaves."""
        return PartitionSlice(0, self.size, self.size, self.records, self.crc32c)


class PartFile:
    """One part file, new and ours alone."""

    def __init__(
        self, files: FileSystem, path: str, compression: str = "none", *,
        most_bytes: int = 0, why: str = "", form: PartForm | None = None,
    ) -> None:  # fmt: skip
        """A part of more than `most_bytes` fails its task, which says `why`; 0 is no bound.  `form` makes the
        content of the records; without one it is the records."""
        self.path = path
        self._most_bytes, self._why = most_bytes, why
        self.totals = PartTotals()
        self._form = form
        self._packer = Packer(compression)
        self._file: AppendFile = files.create(path)

    def write_all(self, batches: Iterable[Rendered]) -> None:
        """Append batches of records.  Raises what the iteration raises, OSError."""
        for records, data in batches:
            for content in (data,) if self._form is None else self._form.pack(data):
                self._write(content)
            self.totals.records += records

    def _write(self, content: bytes) -> None:
        for packed in self._packer.pack(content):
            self._append(packed)

    def _append(self, data: bytes) -> None:
        self._file.append(data)
        self.totals.size += len(data)
        if self._most_bytes and self.totals.size > self._most_bytes:
            raise TaskFailed(Cause.USER_ERROR, self._why)
        self.totals.crc32c = google_crc32c.extend(self.totals.crc32c, data)

    def finish(self) -> None:
        """Write what form and compression still hold, make the content durable and close."""
        if self._form is not None and (end := self._form.end()):
            self._write(end)
        if rest := self._packer.end():
            self._append(rest)
        self._file.sync()
        self._file.close()
