"""Records as the bytes of an output format, a batch at a time.

Pure.  Text is written without escapes, so a tsv key with a tab, or a key or value with a line feed, would be
read back as other records; it is refused by name.

Layout: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from types import NoneType
from typing import Any, Final, Protocol, TypeAlias

from ringmill.cluster.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, not_pairs, shown
from ringmill.cluster.mapreduce.files.keyspace_records import encode_records
from ringmill.cluster.mapreduce.footprint import bounded_batches

__all__ = ["BATCH_RECORDS", "RecordForm", "Rendered", "cell_text", "encoded", "rendered", "rendered_keys"]

Pair: TypeAlias = tuple[Any, Any]
Render: TypeAlias = Callable[[Sequence[Pair]], bytes]
Rendered: TypeAlias = tuple[int, bytes]
"""A number of records, and their bytes."""

BATCH_RECORDS: Final = 1024


class RecordForm(Protocol):
    """A format that follows from the types of the records."""

    def packed(self, batch: Sequence[Pair]) -> bytes:
        """The bytes of all these.  Raises TaskFailed for a record that does not fit the types."""
        ...

    def blocks(self, columns: Iterable[tuple[Sequence[Any], Sequence[Any]]]) -> Iterator[Rendered]:
        """The same of records that come by columns, keys and values."""
        ...


PLAIN: Final = (str, int)
_LARGE: Final = 1 << 64  # json writes larger ones, or says that they are too large


def rendered(
    pairs: Iterable[Pair], format: str, role: str, maker: str, types: RecordForm | None = None
) -> Iterator[Rendered]:
    """The bytes of all pairs, batch by batch; `maker` names the function that gives them, with `types`.

    A batch is in memory at a time, of about 1 MiB or one record.  Raises TaskFailed for a record that is not
    a pair or does not fit the format, and what the iteration raises.
    """
    batches = _batches(pairs, role, maker)
    if types is not None:
        yield from types.blocks(map(_columns, batches))
        return
    render = _RENDERS[format]
    for batch in batches:
        yield len(batch), render(batch)


def rendered_keys(keys: Sequence[Any], format: str, types: RecordForm | None = None) -> bytes:
    """The bytes of records that are keys without values.  Raises TaskFailed like `rendered`."""
    if format == "lines" and {bytes}.issuperset(map(type, keys)):
        return _joined(keys)
    render = _RENDERS[format] if types is None else types.packed
    return render([(key, None) for key in keys])


def _batches(pairs: Iterable[Pair], role: str, maker: str) -> Iterator[list[Pair]]:
    try:
        yield from bounded_batches(iter(pairs), BATCH_RECORDS, _taken)
    except (TypeError, ValueError) as error:
        raise not_pairs(error, role, maker) from error


def _taken(pairs: Iterable[Pair]) -> list[Pair]:
    """As they are now, also where one and the same list comes again and again."""
    return [(key, value) for key, value in pairs]


def _columns(batch: Sequence[Pair]) -> tuple[Sequence[Any], Sequence[Any]]:
    keys, values = zip(*batch, strict=True)
    return keys, values


def _tsv(batch: Sequence[Pair]) -> bytes:
    if all(type(key) in PLAIN and type(value) in PLAIN for key, value in batch):
        text = _plain_lines(batch)
    else:
        text = "".join([f"{cell_text(key)}\t{cell_text(value)}\n" for key, value in batch])
    if text.count("\n") != len(batch) or text.count("\t") != len(batch):
        _refuse_torn(batch)
    return encoded(text)


def _plain_lines(batch: Sequence[Pair]) -> str:
    try:
        return "".join([f"{key}\t{value}\n" for key, value in batch])
    except ValueError as error:  # Python writes no int of more than 4,300 digits
        raise TaskFailed(Cause.USER_ERROR, f"a record cannot be written as text: {error}") from error


def _refuse_torn(batch: Sequence[Pair]) -> None:
    for key, value in batch:
        cells = cell_text(key), cell_text(value)
        if "\t" in cells[0] or "\n" in cells[0] or "\n" in cells[1]:
            raise TaskFailed(
                Cause.USER_ERROR,
                f"record {shown(key, 100)} -> {shown(value, 100)} does not fit a tsv line (a tab in the key, "
                "or a line feed); use output format 'jsonl', or leave them out",
            )


def cell_text(value: Any) -> str:
    """A value in a cell of tsv or csv.  Raises TaskFailed for one that has no such form."""
    if type(value) is str:
        return value
    if type(value) is bytes:
        return value.decode("utf-8", "surrogateescape")
    if type(value) is int and -_LARGE < value < _LARGE:
        return str(value)
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
    except (TypeError, ValueError, RecursionError) as error:
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
    return b"".join(_texts([value for _, value in batch], "bytes"))


def _lines(batch: Sequence[Pair]) -> bytes:
    """The value of each record as a line, or the key when there is no value."""
    return _joined(_texts([key if value is None else value for key, value in batch], "lines"))


def _texts(cells: Sequence[Any], format: str) -> list[bytes]:
    wrong = next((cell for cell in cells if type(cell) not in (bytes, str)), None)
    if wrong is not None:
        raise TaskFailed(
            Cause.USER_ERROR, f"output format {format!r} takes bytes or str, not {shown(wrong, 100)}"
        )
    return _encoded(cells)


def encoded(text: str) -> bytes:
    """Text as UTF-8, surrogate escapes as the bytes that they stand for.  Raises TaskFailed for others."""
    return _encoded([text])[0]


def _encoded(texts: Sequence[str | bytes]) -> list[bytes]:
    """Texts as UTF-8, surrogate escapes as the bytes that they stand for."""
    try:
        return [
            text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape") for text in texts
        ]
    except UnicodeEncodeError as error:
        message = f"a lone surrogate that stands for no byte cannot be written: {error}"
        raise TaskFailed(Cause.USER_ERROR, message) from error


def _joined(lines: Sequence[bytes]) -> bytes:
    if not lines:
        return b""
    data = b"".join((b"\n".join(lines), b"\n"))
    if data.count(b"\n") != len(lines):
        torn = next((line for line in lines if b"\n" in line), b"")
        raise TaskFailed(
            Cause.USER_ERROR,
            f"{shown(torn, 100)} is no line: it has a line feed; use output format 'bytes' or 'jsonl'",
        )
    return data


def _kv(batch: Sequence[Pair]) -> bytes:
    """Records of a keyspace.  What no put would take is refused here, as nothing was put yet."""
    return encode_records([(_kv_key(key), (_kv_value(key, value),)) for key, value in batch])


def _kv_key(key: Any) -> bytes:
    data = _bytes_of(key)
    if data is None or not 1 <= len(data) <= MAX_KEY_BYTES:
        raise TaskFailed(
            Cause.USER_ERROR,
            f"{shown(key, 100)} is no key of a keyspace: need str or bytes, 1 to {MAX_KEY_BYTES} bytes",
        )
    return data


def _kv_value(key: Any, value: Any) -> bytes:
    if value is None:
        raise TaskFailed(Cause.USER_ERROR, f"key {shown(key, 100)} has the value None: a job deletes no keys")
    data = _bytes_of(value)
    if data is None:
        data = _compact(value).encode("ascii")
    if len(data) > MAX_VALUE_BYTES:
        raise TaskFailed(
            Cause.USER_ERROR,
            f"the value of key {shown(key, 100)} has {len(data)} bytes, the limit is {MAX_VALUE_BYTES} bytes",
        )
    return data


def _bytes_of(text: Any) -> bytes | None:
    return _encoded([text])[0] if type(text) in (bytes, str) else None


_RENDERS: Final[dict[str, Render]] = {
    "tsv": _tsv,
    "jsonl": _jsonl,
    "bytes": _bytes,
    "lines": _lines,
    "kv": _kv,
}
