"""Reads the part of the stage before with the states that a reduce updates: that with its own number.

I/O only through the FileSystem passed in.  The part is what the manifest of its folder says, byte for byte,
or the job fails, as one whose input changes: no node can make the states again, and none goes on without one.

Rule J30: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "States".
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import google_crc32c

from ringmill.cluster.mapreduce.api.job_definition import JobDefinition
from ringmill.cluster.mapreduce.codecs.codecs import KeyCodec
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown
from ringmill.cluster.mapreduce.files.readers import pages
from ringmill.cluster.mapreduce.outputs import SUCCESS, part_name
from ringmill.cluster.ports import FileSystem, ReadFile

__all__ = ["StatesPart"]


class StatesPart:
    """One part, sorted by key, each key once.  `size` are its bytes, `records` its states."""

    def __init__(self, job: JobDefinition, files: FileSystem, folder: str, partition: int) -> None:
        """Raises TaskFailed when the folder has no such part any more; OSError."""
        signature = job.map_signature
        self._types = TypedRecords(signature.first, signature.second, signature.where)
        self._codec: KeyCodec = job.key_codec
        self._files = files
        self._path = f"{folder}/{part_name(partition)}"
        self.size, self._crc32c, self.records = self._in_manifest(folder)

    def blocks(
        self, gone: Callable[[int], None]
    ) -> Iterator[tuple[list[bytes], Sequence[Any], Sequence[Any]]]:
        """Encoded keys, keys and states, a block in memory at a time; `gone` gets the bytes that are read.

        Raises TaskFailed for a part that is not what the manifest says, or has a key twice.
        """
        records, last = 0, None
        try:
            with closing(self._opened()) as file:
                read = _Checked(file, gone)
                for keys, states in self._types.columns(read.pages()):
                    encoded = self._codec.encode_all(keys)
                    self._check_order(encoded, keys, last)
                    records, last = records + len(keys), encoded[-1]
                    yield encoded, keys, states
        except TaskFailed as failure:
            if failure.cause is Cause.CORRUPT_DATA:
                raise self._failed(f"holds {failure.message}: it has changed") from failure
            raise TaskFailed(failure.cause, failure.message, failure.frames, self._path) from failure
        if (records, read.crc32c) != (self.records, self._crc32c):
            raise self._failed(
                f"has {records} states and checksum {read.crc32c:08x}; {self.records} and "
                f"{self._crc32c:08x} were written",
            )

    def _opened(self) -> ReadFile:
        try:
            file = self._files.open_read(self._path)
        except FileNotFoundError as error:
            raise self._failed("is gone") from error
        if file.size != self.size:
            file.close()
            raise self._failed(f"has {file.size} bytes, {self.size} were written: it has changed")
        return file

    def _in_manifest(self, folder: str) -> tuple[int, int, int]:
        """Size, checksum and records of the part."""
        name = self._path.rpartition("/")[2]
        try:
            parts = json.loads(self._files.read_bytes(f"{folder}/{SUCCESS}"))["parts"]
            [part] = [each for each in parts if each["name"] == name]
            return int(part["size"]), int(part["crc32c"], 16), int(part["records"])
        except FileNotFoundError as error:
            raise self._failed("has no manifest beside it any more") from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._failed(f"is in no manifest: {error}") from error

    def _check_order(self, encoded: list[bytes], keys: Sequence[Any], last: bytes | None) -> None:
        former = encoded if last is None else [last, *encoded]
        if all(map(operator.lt, former, islice(former, 1, None))):
            return
        at = next(at for at in range(1, len(former)) if former[at - 1] >= former[at])
        if former[at - 1] == former[at]:
            key = keys[at - (last is not None)]
            raise TaskFailed(
                Cause.USER_ERROR,
                f"the key {shown(key, 100)} has two states: the job before an iteration with update gives "
                "each key once",
            )
        raise self._failed("is not in the order of its keys")

    def _failed(self, what: str) -> TaskFailed:
        return TaskFailed(
            Cause.INPUT_CHANGED, f"the part {self._path} with the states of the round before {what}"
        )


class _Checked:
    """A file whose checksum is taken while it is read."""

    def __init__(self, file: ReadFile, gone: Callable[[int], None]) -> None:
        self.crc32c = 0
        self._file, self._gone = file, gone

    def pages(self) -> Iterator[bytes]:
        for data in pages(self._file):
            self.crc32c = google_crc32c.extend(self.crc32c, data)
            yield data
            self._gone(len(data))
