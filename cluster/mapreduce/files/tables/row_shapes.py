"""Records as rows of a table: which columns the types of keys and values make.

Pure.  A key or value is one column; a tuple of fixed length is one for each element, a dataclass one for each
field, and None is none.  The columns of the key come first.

See: docs/formats/job.md, "Output".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.signatures import Hint, name_of, unwrapped
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown

__all__ = ["RowShape"]

Cells: TypeAlias = Callable[[Any], Sequence[Any]]
_Side: TypeAlias = tuple[list[str], list[Hint], Cells]

_NONE: Final[tuple[Any, ...]] = ()


class RowShape:
    """The columns of records: their names, their types, and the cells of a record."""

    def __init__(self, key: Hint, value: Hint, names: Sequence[str], where: str) -> None:
        """`names` take the place of those that follow from the types; `where` names the function that gives
        the records.  Raises InvalidArgument for names that do not fit, or types that make no column."""
        (keys, key_hints, self._of_key), (values, value_hints, self._of_value) = (
            _side(unwrapped(hint), name) for hint, name in ((key, "key"), (value, "value"))
        )
        own = keys + values
        self.types = key_hints + value_hints
        self.names = tuple(names) or tuple(own)
        self._where = where
        self._kinds = f"{name_of(key)} and {name_of(value)}"
        if not own:
            raise InvalidArgument(f"{where} gives {self._kinds}, which make no column of a table")
        if len(self.names) != len(own):
            raise InvalidArgument(
                f"columns has {len(self.names)} names, and {where} gives {len(own)}: {', '.join(own)}"
            )
        if len(set(self.names)) < len(own):
            raise InvalidArgument(
                f"two columns have one name: {', '.join(self.names)}",
                hint="name them: FileOutput(columns=...)",
            )

    def cells(self, key: Any, value: Any) -> list[Any]:
        """The row of a record.  Raises TaskFailed for one that is not as its hint says."""
        try:
            cells = [*self._of_key(key), *self._of_value(value)]
        except (TypeError, AttributeError) as error:
            raise self._unfit(key, value) from error
        if len(cells) != len(self.types):
            raise self._unfit(key, value)
        return cells

    def _unfit(self, key: Any, value: Any) -> TaskFailed:
        message = (
            f"{self._where} gave {shown(key, 100)} -> {shown(value, 100)} where its hint says {self._kinds}"
        )
        return TaskFailed(Cause.USER_ERROR, message)


def _side(hint: Hint, name: str) -> _Side:
    if hint in (None, NoneType):
        return [], [], lambda _: _NONE
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        names = [field.name for field in dataclasses.fields(hint)]
        return names, [hints[each] for each in names], lambda row: [getattr(row, each) for each in names]
    origin: Any = get_origin(hint)
    parts = get_args(hint)
    if origin is tuple and Ellipsis not in parts:
        return [f"{name}_{number}" for number in range(len(parts))], list(parts), _as_tuple
    return [name], [hint], lambda cell: (cell,)


def _as_tuple(row: Any) -> Sequence[Any]:
    if not isinstance(row, tuple | list):
        raise TypeError
    return row
