"""Records of a split, in blocks: lists of (key, value) as map takes them, or batches as map_batch does.

I/O only through the FileSystem passed in.  A piece's records are those that start in it.  Lines end with LF
alone; one CR before it is dropped; text is UTF-8 with bytes that are not as surrogate escapes, so that any
file can be read and written back.

See: docs/formats/job.md, "Records".
"""

from __future__ import annotations

import json
import operator
import posixpath
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import StringIO
from itertools import accumulate, chain, islice
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.codecs.arrow_hints import arrow_name
from ringmill.cluster.mapreduce.codecs.record_forms import form_of
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.context import Context
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown
from ringmill.cluster.mapreduce.files.columnar import column_batches, lines_as_column
from ringmill.cluster.mapreduce.files.file_kinds import is_packed
from ringmill.cluster.mapreduce.files.followed_reads import FollowedFile
from ringmill.cluster.mapreduce.files.keyspace_records import read_rows, record_of
from ringmill.cluster.mapreduce.files.parsing.csv_rows import csv_blocks
from ringmill.cluster.mapreduce.files.splits import InputFile, Piece, Split
from ringmill.cluster.mapreduce.files.unpacking import unpacked_blocks
from ringmill.cluster.ports import FileSystem, ReadFile

__all__ = ["Block", "SplitReader", "open_unchanged", "pages"]

Block: TypeAlias = list[tuple[Any, Any]]
Refused: TypeAlias = Callable[[Any, Any, Exception], None]  # key, text or row, and why

READ_BYTES: Final = 1 << 20
BATCH_BYTES: Final = 4 << 20  # large, as what a map makes of a batch is put together with that of others
BLOCK_RECORDS: Final = 1024
RECORD_CHARS: Final = 400  # cut again where it is shown; a record may be as large as a file
_BYTE_ORDER_MARK: Final = "\ufeff"  # Windows programs put it before UTF-8; it is no part of a field


class SplitReader:
    """Reads one split; `position` tells the record that was handed out last."""

    def __init__(
        self,
        split: Split,
        format: str,
        value_hint: Any,
        *,
        files: FileSystem,
        context: Context,
        columns: Sequence[str] = (),
        key_hint: Any = None,
        where: str = "",
    ) -> None:
        """`key_hint` is asked for by keyspaces and typed records: in other formats keys have one type."""
        self.records_read = 0
        self._bytes_before = 0  # of pieces that were read to their end
        self._piece: Piece | None = None
        self._marks: list[tuple[int, int]] = []  # places of records of the piece, and bytes read up to them
        self._bytes_read = 0  # of the piece
        self._column_bytes = 0  # of the piece, handed out as columns
        self._split = split
        self._format = format
        self._hint = value_hint
        self._form: Any = None  # of what is handed out, where the hint chooses it
        self._key_hint, self._where = key_hint, where
        self._files = files
        self._context = context
        self._columns = columns
        self._has_columns = arrow_name(value_hint) == "RecordBatch"
        self._path = ""
        self._piece_number = -1
        self.refused: Refused | None = None  # takes records that cannot be parsed; None to fail
        self._block: Block = []
        self._left: Iterator[tuple[Any, Any]] = iter(())
        self._span: tuple[int, int] | None = None  # of the batch at hand: where it begins and ends

    @property
    def position(self) -> str:
        """ "FILE offset N" of the last record, "FILE line N" in csv, "FILE key K" of a keyspace, "" before
        the first.

        Of a batch, "FILE offset N to M".
        """
        unit = self._unit
        if self._span is not None:
            return f"{self._path} {unit} {self._span[0]} to {self._span[1]}"
        last = self._last() if unit else None
        return self._path if last is None else f"{self._path} {unit} {last[0]}"

    @property
    def place(self) -> tuple[int, str, str]:
        """The piece at hand by its number, its file, and what a key in it counts: "offset", "line" or ""."""
        return self._piece_number, self._path, self._unit

    @property
    def _unit(self) -> str:
        if self._has_columns and self._format != "arrow":
            return "row"
        return {"csv": "line", "file": "", "arrow": "batch", "kv": "key", "records": "key"}.get(
            self._format, "offset"
        )

    @property
    def record(self) -> str:
        """The value of the record that was handed out last, as Python writes it, cut; "" before the first."""
        last = None if self._format == "file" else self._last()
        return "" if last is None else shown(last[1], RECORD_CHARS)

    @property
    def bytes_done(self) -> int:
        """Bytes of the split up to the record that was handed out last.

        Where a record does not tell how many bytes come before it, between what was read before and after.
        """
        piece, marks = self._piece, self._marks
        if piece is None or (start := self._started()) is None:
            return self._bytes_before
        if self._format in ("kv", "records"):
            done = self._bytes_read
        elif self._has_columns or self._format == "file":
            done = self._column_bytes
        else:
            done = _between(marks, start) if marks else start - piece.start
        return self._bytes_before + max(0, min(done, piece.end - piece.start))

    def _started(self) -> Any:
        """The key of the last record, or of the first of the batch at hand."""
        if self._span is not None:
            return self._span[0]
        last = self._last()
        return None if last is None else last[0]

    def _last(self) -> tuple[Any, Any] | None:
        """The record that was handed out last."""
        block = self._block
        index = len(block) - operator.length_hint(self._left) - 1
        return block[index] if 0 <= index < len(block) else None

    def records(self) -> Iterator[Iterator[tuple[Any, Any]]]:
        """The records, as one iterator a block (chain them: it costs no call a record).

        Raises TaskFailed for a file that changed or cannot be parsed, OSError.
        """
        self._form = form_of(self._format, self._hint, is_batch=False)
        for piece, file in self._opened():
            for block in self._blocks(piece, file):
                self._block = block
                self._left = iter(block)
                self.records_read += len(block)
                yield self._left

    def batches(self, batch_hint: Any) -> Iterator[tuple[int, Any]]:
        """(where it begins, many values) a batch: a list of what `records` gives, or bytes of whole lines.

        Raises like `records`.
        """
        self._form = form_of(self._format, batch_hint, is_batch=True)
        for piece, file in self._opened():
            for start, end, count, batch in self._batches(piece, file, batch_hint):
                self._span = start, end
                self.records_read += count
                yield start, batch
            self._span = None

    def _opened(self) -> Iterator[tuple[Piece, ReadFile]]:
        for number, piece in enumerate(self._split.pieces):
            self._piece, self._piece_number = piece, number
            self._path = self._context.path = piece.file.path
            if self._format == "kv":  # a file of this attempt, named for what is in it
                self._path = self._context.path = posixpath.basename(piece.file.path)
            self._marks, self._column_bytes, self._bytes_read = [], 0, 0
            file = FollowedFile(open_unchanged(piece.file, self._files), self._gone)
            try:
                yield piece, file
            finally:
                file.close()
            _check_unchanged(piece.file, self._files)
            self._piece = None
            self._bytes_before += piece.end - piece.start

    def _gone(self, size: int) -> None:
        self._bytes_read += size

    def _batches(self, piece: Piece, file: ReadFile, hint: Any) -> Iterator[tuple[int, int, int, Any]]:
        """(begin, end, number of values, values) of each batch."""
        if self._has_columns:
            for start, end, columns, done in column_batches(piece, file, self._format, self._columns):
                self._column_bytes = int(done * (piece.end - piece.start))
                yield start, end, columns.num_rows, columns
            return
        if self._format in ("csv", "jsonl"):
            for block in self._blocks(piece, file):
                yield block[0][0], block[-1][0], len(block), [value for _, value in block]
            return
        lines = _line_lists(self._format, hint, self._form)
        for offset, data in self._whole_lines(piece, file, BATCH_BYTES):
            count, batch = lines(data, piece.file.path, offset)
            yield offset, offset + len(data), count, batch

    def _blocks(self, piece: Piece, file: ReadFile) -> Iterator[Block]:
        if self._format == "file":
            return self._whole_file(piece, file)
        if self._format == "csv":
            return self._csv(piece, file)
        if self._format == "kv":
            return self._keyspace_records(file)
        if self._format == "records":
            types = TypedRecords(self._key_hint, self._hint, self._where)
            return types.unpacked(unpacked_blocks(file) if is_packed(piece.file.path) else pages(file))
        parse = {"lines": _text_lines, "bytes": _byte_lines, "raw": _raw_lines, "jsonl": self._json_lines}[
            self._format
        ]
        return self._lines(piece, file, parse)

    def _lines(
        self, piece: Piece, file: ReadFile, parse: Callable[[int, bytes, str], Block]
    ) -> Iterator[Block]:
        for offset, data in self._whole_lines(piece, file):
            if block := parse(offset, data, piece.file.path):
                yield block

    def _whole_lines(self, piece: Piece, file: ReadFile, block_bytes: int = 0) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes that begin and end with a line) of the lines that start in the piece.

        With `block_bytes`, about this number of bytes at a time.
        """
        if is_packed(piece.file.path):
            unpacked = unpacked_blocks(file)
            blocks = _cut_at_lines(_gathered(unpacked, block_bytes) if block_bytes else unpacked, 0)
            for offset, data in blocks if piece.is_whole else islice(blocks, 1):  # of a sample the beginning
                self._marks.append((offset + len(data), self._bytes_read))
                yield offset, data
            return
        start = _line_start(file, piece.start) if piece.start else 0
        if start < piece.end:
            yield from _cut_at_lines(_plain_blocks(file, start, piece.end, block_bytes or READ_BYTES), start)

    def _whole_file(self, piece: Piece, file: ReadFile) -> Iterator[Block]:
        content = b"".join(_all_blocks(piece, file))
        yield [
            (piece.file.path, content if self._form is bytes else content.decode("utf-8", "surrogateescape"))
        ]

    def _keyspace_records(self, file: ReadFile) -> Iterator[Block]:
        taken = record_of(self._key_hint, self._hint)
        for rows in read_rows(pages(file)):
            for start in range(0, len(rows), BLOCK_RECORDS):
                yield list(map(taken, rows[start : start + BLOCK_RECORDS]))

    def _decoded_lines(self, blocks: Iterable[tuple[int, bytes]]) -> Iterator[Iterable[str]]:
        count = 0
        for _, data in blocks:
            text = data.decode("utf-8", "surrogateescape")
            if not count:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            count += text.count("\n") + (not text.endswith("\n"))
            self._marks.append((count, self._bytes_read))
            yield StringIO(text, newline="\n")  # whose lines end with LF alone

    def _csv(self, piece: Piece, file: ReadFile) -> Iterator[Block]:
        lines = self._decoded_lines(_cut_at_lines(_all_blocks(piece, file), 0))
        return csv_blocks(
            chain.from_iterable(lines),
            piece.file.path,
            self._refuse,
            has_header=self._form not in (list[str], list[list[str]]),
            holds_lines=self.refused is not None,
        )

    def _json_lines(self, offset: int, data: bytes, path: str) -> Block:
        block: Block = []
        for at, line in _text_lines(offset, data, path):
            text = line.removeprefix(_BYTE_ORDER_MARK) if at == 0 else line
            if not text or text.isspace():
                continue
            try:
                block.append((at, json.loads(text)))
            except (ValueError, RecursionError) as error:
                why = "nested too deeply" if isinstance(error, RecursionError) else error
                self._refuse(at, text, ValueError(f"not JSON: {why}"))
        return block

    def _refuse(self, key: Any, value: Any, error: ValueError) -> None:
        """A record that cannot be parsed.  Raises TaskFailed unless somebody takes it."""
        if self.refused is None:
            raise TaskFailed(Cause.USER_ERROR, str(error), (), f"{self._path} {self._unit} {key}") from error
        self.records_read += 1
        self.refused(key, value, error)


def open_unchanged(noted: InputFile, files: FileSystem) -> ReadFile:
    """The file, if it has the size and modification time that were noted.  Raises TaskFailed, OSError."""
    try:
        file = files.open_read(noted.path)
    except FileNotFoundError as error:
        raise _gone(noted) from error
    try:
        _compare(noted, file.size, files)
    except BaseException:
        file.close()
        raise
    return file


def _check_unchanged(noted: InputFile, files: FileSystem) -> None:
    """The same of a file that has been read and may have changed meanwhile.  Raises TaskFailed, OSError."""
    try:
        _compare(noted, files.size(noted.path), files)
    except FileNotFoundError as error:
        raise _gone(noted) from error


def _compare(noted: InputFile, size: int, files: FileSystem) -> None:
    modified_ns = files.mtime_ns(noted.path)
    if (size, modified_ns) != (noted.size, noted.mtime_ns):
        raise TaskFailed(
            Cause.INPUT_CHANGED,
            f"input {noted.path} changed under the job: {noted.size} bytes became {size}, "
            f"modification time {noted.mtime_ns} became {modified_ns} ns",
        )


def _gone(noted: InputFile) -> TaskFailed:
    return TaskFailed(Cause.INPUT_CHANGED, f"input {noted.path} is gone")


def pages(file: ReadFile) -> Iterator[bytes]:
    """All bytes of a file."""
    for at in range(0, file.size, READ_BYTES):
        yield file.pread(READ_BYTES, at)


def _line_start(file: ReadFile, at: int) -> int:
    """Where the first line begins that starts at or after `at`."""
    at -= 1
    while data := file.pread(READ_BYTES // 16, at):
        found = data.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(data)
    return file.size


def _plain_blocks(file: ReadFile, start: int, end: int, block_bytes: int) -> Iterator[bytes]:
    """Bytes from `start` to the end of the line that holds byte `end - 1`."""
    at, data = start, b"\n"
    while at < end:
        data = file.pread(min(block_bytes, end - at), at)
        at += len(data)
        yield data
    while not data.endswith(b"\n"):
        data = file.pread(READ_BYTES // 16, at)
        found = data.find(b"\n")
        if found >= 0:
            data = data[: found + 1]
        if not data:
            return
        at += len(data)
        yield data


def _gathered(blocks: Iterable[bytes], least_bytes: int) -> Iterator[bytes]:
    """The same bytes in fewer blocks, each of them but the last at least so long."""
    held: list[bytes] = []
    size = 0
    for data in blocks:
        held.append(data)
        size += len(data)
        if size >= least_bytes:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _all_blocks(piece: Piece, file: ReadFile) -> Iterator[bytes]:
    if is_packed(piece.file.path):
        return unpacked_blocks(file)
    return _plain_blocks(file, 0, piece.end, READ_BYTES)


def _cut_at_lines(blocks: Iterable[bytes], offset: int) -> Iterator[tuple[int, bytes]]:
    """Regroup bytes so that each block ends with LF, but for the very last."""
    held: list[bytes] = []
    for data in blocks:
        cut = data.rfind(b"\n") + 1
        if not cut:
            held.append(data)
            continue
        whole = b"".join((*held, data[:cut]))
        yield offset, whole
        offset += len(whole)
        held = [data[cut:]] if cut < len(data) else []
    if held:
        yield offset, b"".join(held)


def _text_lines(offset: int, data: bytes, path: str) -> Block:
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    raw: Iterable[str | bytes] = lines if len(text) == len(data) else data.split(b"\n")
    offsets = accumulate(map((1).__add__, map(len, raw)), initial=offset)
    if not lines[-1]:
        lines.pop()
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    return list(zip(offsets, lines, strict=False))


def _byte_lines(offset: int, data: bytes, path: str) -> Block:
    lines = data.split(b"\n")
    offsets = accumulate(map((1).__add__, map(len, lines)), initial=offset)
    if not lines[-1]:
        lines.pop()
    if b"\r" in data:
        lines = [line.removesuffix(b"\r") for line in lines]
    return list(zip(offsets, lines, strict=False))


def _raw_lines(offset: int, data: bytes, path: str) -> Block:
    _, lines = _raw_list(data)
    return list(zip(accumulate(map((1).__add__, map(len, lines)), initial=offset), lines, strict=False))


def _line_lists(format: str, hint: Any, form: Any) -> Callable[[bytes, str, int], tuple[int, Any]]:
    """How many lines a block has, and those lines as a batch of this form, or as a column of Arrow."""
    if arrow_name(hint):
        return partial(lines_as_column, is_text=format == "lines", keeps_cr=format == "raw")
    if form is bytes:
        return _block_lines
    if form == list[str]:
        return _str_list
    return _raw_list if format == "raw" else _bytes_list


def _block_lines(data: bytes, path: str, offset: int) -> tuple[int, bytes]:
    return data.count(b"\n") + (not data.endswith(b"\n")), data


def _raw_list(data: bytes, path: str = "", offset: int = 0) -> tuple[int, list[bytes]]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return len(lines), lines


def _bytes_list(data: bytes, path: str, offset: int) -> tuple[int, list[bytes]]:
    count, lines = _raw_list(data)
    if b"\r" in data:
        lines = [line.removesuffix(b"\r") for line in lines]
    return count, lines


def _str_list(data: bytes, path: str, offset: int) -> tuple[int, list[str]]:
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    return len(lines), lines


def _between(marks: Sequence[tuple[int, int]], place: int) -> int:
    """The bytes up to a place that lies between two marks, or before the first or after the last."""
    at = bisect_left(marks, (place, 0))
    before_place, before = marks[at - 1] if at else (0, 0)
    after_place, after = marks[at] if at < len(marks) else (before_place, before)
    if after_place == before_place:
        return after
    return before + (after - before) * (place - before_place) // (after_place - before_place)
