"""Writes the records of one reducer as a part file, a batch at a time.

I/O only through the FileSystem passed in.  Text is written without escapes, so a tsv key with a tab, or a key
or value with a line feed, would be read back as other records; it is refused by name.

Rule J6: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from itertools import islice
from types import NoneType
from typing import Any, Final, TypeAlias

import google_crc32c

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, not_pairs, shown
from ringmill.cluster.ports import AppendFile, FileSystem

__all__ = ["PartFile", "PartTotals"]

Pair: TypeAlias = tuple[Any, Any]
Render: TypeAlias = Callable[[Sequence[Pair]], bytes]

BATCH_RECORDS: Final = 1024
PLAIN: Final = (str, int)


class PartTotals:
    """Size, checksum and records of a part that is being written."""

    __slots__ = ("crc32c", "records", "size")

    def __init__(self) -> None:
        self.size = self.crc32c = self.records = 0


class PartFile:
    """One part file, new and ours alone."""

    def __init__(self, files: FileSystem, path: str, format: str) -> None:
        self.totals = PartTotals()
        self._file: AppendFile = files.create(path)
        self._render: Render = {"tsv": _tsv, "jsonl": _jsonl, "bytes": _bytes}[format]

    def write_all(self, pairs: Iterable[Pair], maker: str = "") -> None:
        """Append every record; `maker` names the function that gives them.

        Raises TaskFailed for a record that is not a pair or does not fit the format, what the iteration
        raises, OSError.
        """
        pairs = iter(pairs)
        while batch := _next_batch(pairs, maker):
            data = self._render(batch)
            self._file.append(data)
            self.totals.size += len(data)
            self.totals.crc32c = google_crc32c.extend(self.totals.crc32c, data)
            self.totals.records += len(batch)

    def finish(self) -> None:
        """Make the content durable and close."""
        self._file.sync()
        self._file.close()


def _next_batch(pairs: Iterator[Pair], maker: str) -> list[Pair]:
    try:
        return [(key, value) for key, value in islice(pairs, BATCH_RECORDS)]
    except (TypeError, ValueError) as error:
        raise not_pairs(error, "reduce", maker) from error


def _tsv(batch: Sequence[Pair]) -> bytes:
    if all(type(key) in PLAIN and type(value) in PLAIN for key, value in batch):
        text = _plain_lines(batch)
    else:
        text = "".join([f"{_cell(key)}\t{_cell(value)}\n" for key, value in batch])
    if text.count("\n") != len(batch) or text.count("\t") != len(batch):
        _refuse_torn(batch)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        message = f"a lone surrogate that stands for no byte cannot be written as text: {error}"
        raise TaskFailed(Cause.USER_ERROR, message) from error


def _plain_lines(batch: Sequence[Pair]) -> str:
    try:
        return "".join([f"{key}\t{value}\n" for key, value in batch])
    except ValueError as error:  # Python writes no int of more than 4,300 digits
        raise TaskFailed(Cause.USER_ERROR, f"a record cannot be written as text: {error}") from error


def _refuse_torn(batch: Sequence[Pair]) -> None:
    for key, value in batch:
        cells = _cell(key), _cell(value)
        if "\t" in cells[0] or "\n" in cells[0] or "\n" in cells[1]:
            raise TaskFailed(
                Cause.USER_ERROR,
                f"record {shown(key, 100)} -> {shown(value, 100)} does not fit a tsv line (a tab in the key, "
                "or a line feed); use output format 'jsonl', or leave them out",
            )


def _cell(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is bytes:
        return value.decode("utf-8", "surrogateescape")
    if type(value) is NoneType:
        return ""
    return _compact(value)


def _jsonl(batch: Sequence[Pair]) -> bytes:
    return "".join(
        [_compact({"key": key, "value": value}, allow_nan=False) + "\n" for key, value in batch]
    ).encode("ascii")


def _compact(value: Any, *, allow_nan: bool = True) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), default=_as_json, allow_nan=allow_nan)
    except (TypeError, ValueError) as error:
        raise TaskFailed(
            Cause.USER_ERROR, f"{shown(value, 200)} cannot be written as JSON: {error}"
        ) from error


def _as_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    raise TypeError(f"type {type(value).__name__} has no JSON form")


def _bytes(batch: Sequence[Pair]) -> bytes:
    values = [value for _, value in batch]
    wrong = next((value for value in values if type(value) not in (bytes, str)), None)
    if wrong is not None:
        raise TaskFailed(
            Cause.USER_ERROR, f"output format 'bytes' takes bytes or str, not {shown(wrong, 100)}"
        )
    return b"".join([v if type(v) is bytes else v.encode("utf-8", "surrogateescape") for v in values])
