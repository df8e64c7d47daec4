"""A part as a Parquet file, made of blocks of typed records.

pyarrow is an extra: it is loaded by the task that writes the part, and never by a node.  A row group ends
with the block with which its records have 16 MiB as they are packed, so where it ends follows from the
records alone.  Other versions of pyarrow may give other bytes.

See: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.arrow_hints import EXTRA_HINT
from ringmill.cluster.mapreduce.codecs.signatures import Hint, name_of, unwrapped
from ringmill.cluster.mapreduce.codecs.typed_records import TypedRecords
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.files.tables.row_shapes import RowShape

__all__ = ["ParquetPart", "check_parquet_types"]

GROUP_BYTES: Final = 16 << 20

_PLAIN: Final[dict[Any, str]] = {
    int: "int64", float: "float64", str: "string", bytes: "binary", bool: "bool_",
}  # fmt: skip
_AS_KEYS: Final = (int, str, bytes, bool)


class ParquetPart:
    """One part.  `types` reads the blocks, `shape` tells the columns."""

    def __init__(self, types: TypedRecords, shape: RowShape, compression: str, where: str) -> None:
        """Raises TaskFailed where there is no pyarrow."""
        try:
            self._arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
        except ModuleNotFoundError as error:
            raise TaskFailed(Cause.BAD_BUNDLE, f"an output in parquet: {error}; {EXTRA_HINT}") from error
        self._types, self._shape, self._where = types, shape, where
        kinds = [_kind_of(hint, self._arrow) for hint in shape.types]
        self._lowers = [lower for _, _, lower in kinds]
        fields = [
            self._arrow.field(name, kind, nullable=is_nullable)
            for name, (kind, is_nullable, _) in zip(shape.names, kinds, strict=True)
        ]
        self._schema = self._arrow.schema(fields)
        self._written = io.BytesIO()
        self._writer = parquet.ParquetWriter(
            self._arrow.PythonFile(self._written, mode="w"), self._schema, compression=compression
        )
        self._batches: list[Any] = []
        self._held = 0

    def pack(self, data: bytes) -> Iterator[bytes]:
        for keys, values in self._types.columns((data,)):
            rows = list(map(self._shape.cells, keys, values))
            self._batches.append(self._arrow.record_batch(self._columns(rows), schema=self._schema))
        self._held += len(data)
        if self._held >= GROUP_BYTES:
            self._write_group()
            yield self._taken()

    def end(self) -> bytes:
        self._write_group()
        self._writer.close()
        return self._taken()

    def _columns(self, rows: list[list[Any]]) -> list[Any]:
        columns = []
        for at, (field, lower) in enumerate(zip(self._schema, self._lowers, strict=True)):
            cells = [row[at] for row in rows] if lower is None else [lower(row[at]) for row in rows]
            try:
                columns.append(self._arrow.array(cells, field.type))
            except (self._arrow.ArrowException, ValueError, OverflowError) as error:
                message = f"{self._where} gave a {field.name} that is no {field.type} of Parquet: {error}"
                raise TaskFailed(Cause.USER_ERROR, message) from error
        return columns

    def _write_group(self) -> None:
        if self._batches:
            table = self._arrow.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._batches, self._held = [], 0

    def _taken(self) -> bytes:
        """What was written since it was last asked: the place in the file goes on."""
        data = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        return data


_Kind = tuple[Any, bool, Callable[[Any], Any] | None]


def check_parquet_types(shape: RowShape, where: str) -> None:
    """Raises InvalidArgument for a column that has no type in Parquet."""
    for name, hint in zip(shape.names, shape.types, strict=True):
        try:
            _kind_of(hint, _Names())
        except InvalidArgument as error:
            raise InvalidArgument(
                f"{where} gives a column {name} of type {name_of(hint)}, which Parquet has none for",
                hint="columns are int, float, str, bytes, bool, and lists, tuples, dataclasses and dicts of "
                "these, or | None",
            ) from error


def _kind_of(hint: Hint, arrow: Any) -> _Kind:
    """The type in Arrow, whether None is one of its values, and what makes a cell of a value, if it is not
    the value."""
    hint = unwrapped(hint)
    if hint in _PLAIN:
        return getattr(arrow, _PLAIN[hint])(), False, None
    origin: Any = get_origin(hint)
    args = get_args(hint)
    if origin in (Union, UnionType):
        others = [each for each in args if each not in (None, NoneType)]
        if len(others) == 1 and len(args) == 2:
            kind, _, lower = _kind_of(others[0], arrow)
            return kind, True, None if lower is None else partial(_unless_none, lower)
    elif origin is list or (origin is tuple and len(args) == 2 and args[1] is Ellipsis):
        kind, _, lower = _kind_of(args[0], arrow)
        return arrow.list_(kind), False, None if lower is None else partial(_each, lower)
    elif origin is tuple and args:
        names = [f"_{number}" for number in range(len(args))]
        return _struct(names, args, arrow, _same)
    elif origin is dict and unwrapped(args[0]) in _AS_KEYS:
        (keys, _, _), (values, _, lower) = _kind_of(args[0], arrow), _kind_of(args[1], arrow)
        return arrow.map_(keys, values), False, partial(_entries, lower or _same)
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type) and dataclasses.fields(hint):
        hints = get_type_hints(hint)
        names = [field.name for field in dataclasses.fields(hint)]
        return _struct(names, [hints[name] for name in names], arrow, partial(_fields, names))
    raise InvalidArgument(f"{name_of(hint)} has no type in Parquet")


def _unless_none(lower: Callable[[Any], Any], cell: Any) -> Any:
    return None if cell is None else lower(cell)


def _each(lower: Callable[[Any], Any], cells: Any) -> list[Any]:
    return list(map(lower, cells))


def _entries(lower: Callable[[Any], Any], cell: dict[Any, Any]) -> list[tuple[Any, Any]]:
    return [(key, lower(each)) for key, each in cell.items()]


def _fields(names: list[str], row: Any) -> list[Any]:
    return [getattr(row, name) for name in names]


def _same(cell: Any) -> Any:
    return cell


def _struct(names: list[str], hints: Any, arrow: Any, cells_of: Callable[[Any], Any]) -> _Kind:
    kinds = [_kind_of(each, arrow) for each in hints]
    fields = [(name, kind) for name, (kind, _, _) in zip(names, kinds, strict=True)]
    lowers = [lower or _same for _, _, lower in kinds]

    def lower(row: Any) -> dict[str, Any]:
        cells = zip(names, lowers, cells_of(row), strict=True)
        return {name: convert(cell) for name, convert, cell in cells}

    return arrow.struct(fields), False, lower


class _Names:
    """Stands for pyarrow where types are checked and none is made."""

    def __getattr__(self, name: str) -> Callable[..., str]:
        return lambda *_: name
