"""Tells the type hints of Arrow's classes from others without importing pyarrow, which is an extra.

Pure.  A job whose hints name such a class has imported pyarrow itself; no other process needs it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args, get_origin

__all__ = ["EXTRA_HINT", "arrow_name", "declared_columns", "extra_hint"]

EXTRA_HINT: Final = "pyarrow is an extra: pip install 'ringmill[arrow]', on the nodes as well"


def arrow_name(hint: Any) -> str:
    """ "RecordBatch" of pyarrow.RecordBatch; "" of what is no class of pyarrow."""
    is_arrow = isinstance(hint, type) and hint.__module__.partition(".")[0] == "pyarrow"
    return hint.__name__ if is_arrow else ""


def declared_columns(hint: Any) -> tuple[Any, ...] | None:
    """The types of the columns of Annotated[pyarrow.RecordBatch, tuple[KEY, VALUE]], or of a Table.

    () when a batch is declared without them, None for another hint.
    """
    is_annotated = get_origin(hint) is Annotated
    held, *notes = get_args(hint) if is_annotated else (hint,)
    if arrow_name(held) not in ("RecordBatch", "Table"):
        return None
    tuples = [note for note in notes if get_origin(note) is tuple]
    columns = get_args(tuples[0]) if tuples else ()
    return columns if len(columns) == 2 and Ellipsis not in columns else ()


def extra_hint(error: BaseException) -> str:
    """What to do about a module that does not import for want of pyarrow; "" for another reason."""
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    return EXTRA_HINT if name.partition(".")[0] == "pyarrow" else ""
