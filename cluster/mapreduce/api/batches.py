"""What a batch-wise map may take and give: lines as a list, as a block or as a column of Arrow, many columns;
pairs, a dict, keys alone or two columns.

Pure.  Where the input is cut into batches is not part of a job's meaning: its output must not depend on it,
as it must not depend on splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.arrow_hints import EXTRA_HINT, arrow_name
from ringmill.cluster.mapreduce.codecs.record_forms import BATCH_FORMS, form_of
from ringmill.cluster.mapreduce.codecs.signatures import Gives, Signature, name_of
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed

__all__ = ["check_batch", "check_columns", "keys_of", "pairs_of"]

_ARROW: Final[dict[str, tuple[str, ...]]] = {
    "lines": ("StringArray", "Array"),
    "bytes": ("BinaryArray", "Array"),
    "raw": ("BinaryArray", "Array"),
    "csv": ("RecordBatch",),
    "parquet": ("RecordBatch",),
    "arrow": ("RecordBatch",),
}
"""The classes of pyarrow that a batch may be of."""


def check_batch(maker: Signature, format: str) -> None:
    """Raises InvalidArgument when the format gives no batches of the type that map_batch takes."""
    options = BATCH_FORMS.get(format)
    if options is None:
        raise InvalidArgument(
            f"map_batch {maker.where}: format {format!r} gives one record at a time; use map"
        )
    arrow = _ARROW.get(format, ())
    if form_of(format, maker.second, is_batch=True) is None and arrow_name(maker.second) not in arrow:
        names = [*map(name_of, options), *(f"pyarrow.{each}" for each in arrow[:1])]
        raise InvalidArgument(
            f"map_batch {maker.where}: format {format!r} gives {' or '.join(names)}, "
            f"map_batch takes {name_of(maker.second)}",
            hint="" if options else EXTRA_HINT,
        )
    if maker.first not in (int, None):
        raise InvalidArgument(
            f"map_batch {maker.where} takes {name_of(maker.first)} as where the batch begins; it is an int"
        )


def check_columns(maker: Signature, columns: Sequence[str]) -> None:
    """Raises InvalidArgument when columns are chosen and map does not take columns."""
    if columns and arrow_name(maker.second) != "RecordBatch":
        raise InvalidArgument(
            f"map {maker.where} takes {name_of(maker.second)}; columns are chosen of a pyarrow.RecordBatch, "
            "for map_batch"
        )


def pairs_of(result: Any, gives: Gives, where: str) -> Iterable[tuple[Any, Any]]:
    """The pairs of what map_batch returned.  Raises TaskFailed for what it was not declared to return."""
    if gives is Gives.DICT:
        if not isinstance(result, Mapping):
            message = f"map_batch {where} is declared to return a dict, and returned {type(result).__name__}"
            raise TaskFailed(Cause.USER_ERROR, message)
        return result.items()
    if gives is Gives.COLUMNS:
        return _column_pairs(result, where)
    if gives is Gives.KEYS:
        return zip(_iterated(result, where), repeat(None))
    return _iterated(result, where)


def keys_of(result: Any, where: str) -> Sequence[Any]:
    """The keys that map_batch returned without values.  Raises TaskFailed like `pairs_of`."""
    keys = _iterated(result, where)
    return keys if isinstance(keys, list) else list(keys)


def _column_pairs(result: Any, where: str) -> Iterable[tuple[Any, Any]]:
    columns: Sequence[Any] = result.columns if arrow_name(type(result)) in ("RecordBatch", "Table") else ()
    if len(columns) != 2:
        found = f"{len(columns)} columns" if columns else type(result).__name__
        message = f"map_batch {where} must give a RecordBatch or Table of two columns, not {found}"
        raise TaskFailed(Cause.USER_ERROR, message)
    keys, values = columns
    return zip(keys.to_pylist(), values.to_pylist(), strict=True)


def _iterated(result: Any, where: str) -> Iterable[Any]:
    if not isinstance(result, Iterable) or isinstance(result, Mapping | str | bytes):
        name = type(result).__name__
        message = f"map_batch {where} must give an iterable of what its hint says, not {name}"
        raise TaskFailed(Cause.USER_ERROR, message)
    return result
