"""Batches of columns: Parquet, Arrow and CSV files as Arrow record batches, and lines as a column of text.

I/O only through the ReadFile passed in.  pyarrow is an extra: it is loaded when a batch is read, in a process
whose job has imported it already, and never by a node.

Row group (of Parquet) or record batch (of Arrow) i of n belongs to the piece that holds byte i * size // n of
its file, so that the plan needs no more than the file's size.

See: docs/formats/job.md, "Records".
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.file_kinds import is_packed
from ringmill.cluster.mapreduce.files.splits import Piece
from ringmill.cluster.mapreduce.files.unpacking import unpacked_blocks
from ringmill.cluster.ports import ReadFile

__all__ = ["ColumnBatch", "column_batches", "lines_as_column"]

BATCH_ROWS: Final = 1 << 16
BATCH_BYTES: Final = 16 << 20  # of Parquet, as encoded
PAGE_BYTES: Final = 1 << 20  # read at a time: a column of a row group may be larger than memory
_LINE_FEED: Final = 10
CSV_BLOCK_BYTES: Final = 4 << 20  # no row may be larger


class ColumnBatch(NamedTuple):
    """Rows [start, end) of a file; in Arrow files, start is the number of the record batch."""

    start: int
    end: int
    batch: Any  # pyarrow.RecordBatch
    done: float  # of the piece, 0 to 1


def column_batches(
    piece: Piece, file: ReadFile, format: str, columns: Sequence[str] = ()
) -> Iterator[ColumnBatch]:
    """The rows of a piece, at least one a batch; these columns of them, or all.

    Raises TaskFailed for what is not in this format or lacks a column, OSError of the disk.
    """
    pyarrow = importlib.import_module("pyarrow")
    batches = _READERS[format](piece, file, tuple(columns))
    while True:
        try:
            batch = next(batches, None)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            is_of_disk = isinstance(error, OSError) and error.errno is not None  # pyarrow's have no number
            if is_of_disk or isinstance(error, MemoryError):
                raise
            message = f"cannot read it as {format}: {error}"
            raise TaskFailed(Cause.USER_ERROR, message, (), piece.file.path) from error
        if batch is None:
            return
        if batch.end > batch.start:
            yield batch


def lines_as_column(data: bytes, path: str, offset: int, *, is_text: bool, keeps_cr: bool) -> tuple[int, Any]:
    """How many lines a block has, and a StringArray or BinaryArray of them.

    Raises TaskFailed for text that is not UTF-8: Arrow has no escape for other bytes.
    """
    pyarrow, compute = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.compute")
    kind = pyarrow.string() if is_text else pyarrow.binary()
    try:
        lines = compute.split_pattern(pyarrow.array([data], kind), pattern="\n").values
    except pyarrow.ArrowInvalid as error:
        message = 'no UTF-8, which a column of text has to be; FileInput("bytes") gives a pyarrow.BinaryArray'
        raise TaskFailed(Cause.USER_ERROR, message, (), f"{path} offset {offset}") from error
    if data.endswith(b"\n"):
        lines = lines.slice(0, len(lines) - 1)
    if not keeps_cr and b"\r" in data:
        lines = compute.replace_substring_regex(lines, pattern=r"\r\z", replacement="")
    return len(lines), lines


def _parquet(piece: Piece, file: ReadFile, columns: Sequence[str]) -> Iterator[ColumnBatch]:
    parquet = importlib.import_module("pyarrow.parquet")
    with parquet.ParquetFile(_SeekableBytes(file), pre_buffer=False, buffer_size=PAGE_BYTES) as opened:
        _require(columns, opened.schema_arrow.names)
        rows = [opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups)]
        chosen = _numbers_in(piece, len(rows))
        if not chosen:
            return
        start, done = sum(rows[: chosen.start]), 0
        total = sum(rows[chosen.start : chosen.stop])
        for batch in opened.iter_batches(
            _rows_at_once(opened.metadata, chosen, columns),
            row_groups=list(chosen),
            columns=list(columns) or None,
            use_threads=False,
        ):
            yield ColumnBatch(start + done, start + done + len(batch), batch, done / total)
            done += len(batch)


def _rows_at_once(metadata: Any, chosen: range, columns: Sequence[str]) -> int:
    """How many rows a batch has, so that wide ones take no more memory than narrow ones."""
    rows = size = 0
    for group in map(metadata.row_group, chosen):
        rows += group.num_rows
        for column in map(group.column, range(group.num_columns)):
            if not columns or column.path_in_schema.partition(".")[0] in columns:
                size += column.total_uncompressed_size
    return max(1, min(BATCH_ROWS, rows * BATCH_BYTES // max(1, size)))


def _arrow(piece: Piece, file: ReadFile, columns: Sequence[str]) -> Iterator[ColumnBatch]:
    ipc = importlib.import_module("pyarrow.ipc")
    with ipc.open_file(_SeekableBytes(file)) as opened:
        _require(columns, opened.schema.names)
        chosen = _numbers_in(piece, opened.num_record_batches)
        for number in chosen:
            batch = opened.get_batch(number)
            batch = batch.select(list(columns)) if columns else batch
            if len(batch):
                yield ColumnBatch(number, number + 1, batch, (number - chosen.start) / len(chosen))


def _csv(piece: Piece, file: ReadFile, columns: Sequence[str]) -> Iterator[ColumnBatch]:
    """All columns are text, as guessed types would depend on where the first block ends."""
    csv = importlib.import_module("pyarrow.csv")
    text = importlib.import_module("pyarrow").string()
    settings = (
        csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK_BYTES),
        csv.ParseOptions(newlines_in_values=True),
    )
    if _is_blank(_stream_of(file)):
        return
    names = csv.open_csv(_Lines(_stream_of(file)), *settings).schema.names
    _require(columns, names)
    types = csv.ConvertOptions(column_types=dict.fromkeys(names, text), include_columns=list(columns))
    stream = _stream_of(file)
    opened = csv.open_csv(_Lines(stream), *settings, types)
    start = 0
    for batch in opened:
        yield ColumnBatch(start, start + len(batch), batch, stream.at / max(1, stream.at, piece.file.size))
        start += len(batch)


def _is_blank(stream: io.RawIOBase) -> bool:
    """Whether there is nothing but line ends, of which pyarrow makes no columns."""
    mark = b"\xef\xbb\xbf"  # of the order of bytes, in which there is no choice
    while data := stream.read(PAGE_BYTES):
        if data.removeprefix(mark).strip(b"\r\n"):
            return False
        mark = b""
    return True


def _require(columns: Iterable[str], there: Sequence[str]) -> None:
    missing = [name for name in columns if name not in there]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}; there are {', '.join(there)}")


def _numbers_in(piece: Piece, count: int) -> range:
    """Which of `count` row groups or record batches begin in the piece, as the module says."""
    size = piece.file.size
    first, end = (-(-at * count // size) for at in (piece.start, piece.end))
    return range(first, min(end, count))


class _SeekableBytes(io.RawIOBase):
    """A file as pyarrow reads it."""

    def __init__(self, file: ReadFile) -> None:
        self._file = file
        self.at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self._file.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, into: Any) -> int:
        data = self._file.pread(len(into), self.at)
        into[: len(data)] = data
        self.at += len(data)
        return len(data)


class _UnpackedBytes(io.RawIOBase):
    """The content of a compressed file; every read but the last gives as much as is asked for, as where
    pyarrow ends a batch follows from what it gets."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._held = b""
        self.at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        filled = 0
        while filled < len(into):
            self._held = self._held or next(self._blocks, b"")
            if not self._held:
                break
            data, self._held = self._held[: len(into) - filled], self._held[len(into) - filled :]
            into[filled : filled + len(data)] = data
            filled += len(data)
        self.at += filled
        return filled


class _Lines(io.RawIOBase):
    """A stream with a line feed at its end, without which pyarrow finds no header in front of no rows."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream = stream
        self._has_end = False  # at what was read last

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        filled = self._stream.readinto(into) or 0
        if filled:
            self._has_end = into[filled - 1] == _LINE_FEED
        if filled < len(into) and not self._has_end:
            into[filled] = _LINE_FEED
            self._has_end = True
            filled += 1
        return filled


def _stream_of(file: ReadFile) -> _SeekableBytes | _UnpackedBytes:
    return _UnpackedBytes(unpacked_blocks(file)) if is_packed(file.path) else _SeekableBytes(file)


_READERS: Final[dict[str, Callable[[Piece, ReadFile, Sequence[str]], Iterator[ColumnBatch]]]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "csv": _csv,
}
