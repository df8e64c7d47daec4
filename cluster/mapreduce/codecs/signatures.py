"""Reads the parameter and result types of a job's functions from their type hints.

Pure.  A task process must find a function by module and name, so lambdas, closures and nested functions are
refused here, with file and line; so are missing and unsupported hints.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections import Counter, abc, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from types import FunctionType, NoneType, UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.arrow_hints import declared_columns
from ringmill.cluster.mapreduce.context import Context

__all__ = [
    "Gives",
    "Hint",
    "Signature",
    "fits",
    "has_part",
    "name_of",
    "read_batch_signature",
    "read_result_signature",
    "read_signature",
    "read_update_signature",
    "unwrapped",
]

Hint: TypeAlias = Any  # a type expression: a class, list[int], str | None, typing.Any

_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DICTS: Final = (dict, defaultdict, abc.Mapping)
_ITERABLES: Final = (abc.Iterator, abc.Iterable, abc.Generator, abc.Sequence, list)


class Gives(Enum):
    """The shape of what a function returns."""

    PAIRS = "pairs"
    DICT = "dict"  # of key to value; map_batch alone
    KEYS = "keys"  # without values; map_batch alone
    COLUMNS = "columns"  # of Arrow, the keys and the values; map_batch alone


@dataclass(frozen=True, slots=True)
class Signature:
    """A job function: two positional parameters, an optional `ctx`, and pairs out.

    `first` is None when a batch-wise map does not take where its batch begins.
    """

    where: str  # "FILE:LINE name()", for messages
    first: Hint
    second: Hint
    out_key: Hint
    out_value: Hint
    wants_context: bool
    gives: Gives = Gives.PAIRS


def read_signature(function: Callable[..., Iterable[tuple[Any, Any]]], role: str) -> Signature:
    """The signature of a job's map, combine or reduce function.

    Raises InvalidArgument when a task process could not import it, or its hints are incomplete.
    """
    where = _shippable(function, role)
    names, hints, wants_context = _parameters(function, role, where)
    if len(names) != 2:
        raise InvalidArgument(
            f"{role} {where} takes ({', '.join(names)}); it must take two parameters and, if it likes, ctx"
        )
    key, value = _pair_of(hints["return"], role, where)
    return Signature(where, hints[names[0]], hints[names[1]], key, value, wants_context)


def read_batch_signature(function: Callable[..., Any]) -> Signature:
    """The signature of a map_batch function: it takes where the batch begins, if it likes, then the batch.

    It returns an iterable of pairs, a dict, an iterable of keys alone, or two columns of Arrow.  Raises
    InvalidArgument.
    """
    where = _shippable(function, "map_batch")
    names, hints, wants_context = _parameters(function, "map_batch", where)
    if len(names) not in (1, 2):
        raise InvalidArgument(
            f"map_batch {where} takes ({', '.join(names)}); it must take a batch, if it likes after where "
            "the batch begins, and, if it likes, ctx"
        )
    first = hints[names[0]] if len(names) == 2 else None
    returned = typing.get_type_hints(function, include_extras=True)["return"]
    if (columns := declared_columns(returned)) is not None:
        key, value = _column_types(columns, where)
        gives = Gives.COLUMNS
    else:
        key, value, gives = _batch_result(hints["return"], where)
    return Signature(where, first, hints[names[-1]], key, value, wants_context, gives)


def read_result_signature(
    function: Callable[..., Iterable[tuple[Any, Any]]], key: Hint, left: Hint, right: Hint
) -> Signature:
    """The signature of the function that a join calls for a key and two rows.  Raises InvalidArgument."""
    where = _shippable(function, "result")
    names, hints, wants_context = _parameters(function, "result", where)
    if len(names) != 3:
        raise InvalidArgument(
            f"result {where} takes ({', '.join(names)}); it must take a key, a left and a right row, and, if "
            "it likes, ctx"
        )
    for what, given, name in zip(("key", "left row", "right row"), (key, left, right), names, strict=True):
        if not fits(given, hints[name]):
            raise InvalidArgument(
                f"result {where}: the {what} is of type {name_of(given)}, and it takes {name_of(hints[name])}"
            )
    return Signature(where, key, left, *_pair_of(hints["return"], "result", where), wants_context)


def read_update_signature(function: Callable[..., Any]) -> tuple[Signature, Hint]:
    """The signature of a function that takes a key, its state and values, and the type of the state it takes.

    What it returns is the value of a pair, the same key the other half; None stands for no state.  Raises
    InvalidArgument.
    """
    where = _shippable(function, "update")
    names, hints, wants_context = _parameters(function, "update", where)
    if len(names) != 3:
        raise InvalidArgument(
            f"update {where} takes ({', '.join(names)}); it must take a key, its state and values, and, if "
            "it likes, ctx"
        )
    key, state, values = (hints[name] for name in names)
    if not fits(NoneType, state):
        raise InvalidArgument(
            f"update {where}: the state is None for a key that has none yet, and {names[1]} is declared "
            f"{name_of(state)}",
            hint=f"declare {name_of(state)} | None",
        )
    returned = without_none(hints["return"])
    return Signature(where, key, values, key, returned, wants_context), without_none(state)


def without_none(hint: Hint) -> Hint:
    """The type of what is there, where None says that nothing is."""
    hint = unwrapped(hint)
    if not _is_union(hint):
        return hint
    rest = tuple(each for each in get_args(hint) if unwrapped(each) is not NoneType)
    return Union[rest] if rest else NoneType  # noqa: UP007 - of as many as are left


def check_partition(function: Callable[..., int], maker: Signature) -> None:
    """Raises InvalidArgument when it cannot be imported, or is not (key of map, int) -> int."""
    where = _shippable(function, "partition")
    names, hints, _ = _parameters(function, "partition", where)
    if len(names) != 2 or hints[names[1]] is not int or hints["return"] is not int:
        raise InvalidArgument(f"partition {where} must take (key, parts: int) and return int")
    if not fits(maker.out_key, hints[names[0]]):
        raise InvalidArgument(
            f"map {maker.where} gives a key of type {name_of(maker.out_key)}, partition {where} takes "
            f"{name_of(hints[names[0]])}"
        )


def _parameters(
    function: Callable[..., Any], role: str, where: str
) -> tuple[list[str], dict[str, Hint], bool]:
    """The names of the parameters but ctx, all hints, and whether there is ctx."""
    hints = _hints_of(function, f"{role} {where}")
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    misnamed = next((name for name in names if hints.get(name) is Context and name != "ctx"), None)
    if misnamed is not None:
        raise InvalidArgument(f"{role} {where}: the parameter for the context is named ctx, not {misnamed}")
    wants_context = len(names) > 1 and names[-1] == "ctx"
    names = names[: len(names) - wants_context]
    for name in (*names, "return"):
        if name not in hints:
            raise InvalidArgument(f"{role} {where}: {name!r} has no type hint; the hints choose the codecs")
        _check_classes(hints[name], f"{role} {where}")
    if wrong := [name for name in names if parameters[name].kind not in _BY_PLACE]:
        raise InvalidArgument(
            f"{role} {where}: {wrong[0]} is not given by its place, as all parameters but ctx are"
        )
    return names, hints, wants_context


def _check_classes(hint: Hint, where: str, around: tuple[Hint, ...] = ()) -> None:
    """Raises InvalidArgument for a dataclass in it whose fields cannot be read, or that is a part of
    itself."""
    hint = unwrapped(hint)
    parts: Iterable[Hint] = get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if hint in around:
            raise InvalidArgument(
                f"{where}: dataclass {hint.__name__} is a part of itself; types tell how deep a record is",
                hint="give list, dict or Any for that field",
            )
        around = (*around, hint)
        parts = _hints_of(hint, f"{where}: a field of dataclass {hint.__name__}").values()
    for part in parts:
        _check_classes(part, where, around)


def _hints_of(annotated: Any, where: str) -> dict[str, Hint]:
    """The hints of a function or class.  Raises InvalidArgument for one that is not there."""
    try:
        return typing.get_type_hints(annotated)
    except NameError as error:
        raise InvalidArgument(
            f"{where}: a type hint names {error.name!r}, which the module does not define at run time",
            hint="import it outside `if TYPE_CHECKING` and define it above the job",
        ) from error


def element_of(hint: Hint, role: str, where: str) -> Hint:
    """The V of a parameter declared Iterable[V]."""
    origin: Any = get_origin(hint)
    if origin in _ITERABLES and get_args(hint):
        return get_args(hint)[0]
    raise InvalidArgument(f"{role} {where}: its values must be Iterable[...], not {name_of(hint)}")


def fits(given: Hint, wanted: Hint) -> bool:
    """Whether every value of type `given` may be passed where `wanted` is declared."""
    given, wanted = unwrapped(given), unwrapped(wanted)
    if given == wanted or wanted in (Any, object) or (given, wanted) in ((int, float), (bool, int)):
        return True
    if _is_union(given):
        return all(fits(option, wanted) for option in get_args(given))
    if _is_union(wanted):
        return any(fits(given, option) for option in get_args(wanted))
    given_class, wanted_class = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(given_class, type) and isinstance(wanted_class, type)):
        return False
    return issubclass(given_class, wanted_class) and (
        not get_args(wanted) or _arguments_fit(get_args(given), get_args(wanted))
    )


def name_of(hint: Hint) -> str:
    """A hint as its author would write it."""
    if get_origin(hint) is not None or not isinstance(hint, type):
        return str(hint).replace("typing.", "").replace("collections.abc.", "")
    return "None" if hint is NoneType else hint.__qualname__


def _arguments_fit(given: tuple[Hint, ...], wanted: tuple[Hint, ...]) -> bool:
    if len(wanted) == 2 and wanted[1] is Ellipsis:
        return all(fits(item, wanted[0]) for item in given if item is not Ellipsis)
    return len(given) == len(wanted) and all(map(fits, given, wanted))


def _is_union(hint: Hint) -> bool:
    origin: Any = get_origin(hint)
    return origin is Union or origin is UnionType


def unwrapped(hint: Hint) -> Hint:
    """NewType and Annotated stand for what they wrap."""
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    return NoneType if hint is None else hint


def has_part(hint: Hint, is_sought: Callable[[Hint], bool]) -> bool:
    """Whether a type is sought, or one of its parts: of the fields of a dataclass, else of the arguments."""
    hint = unwrapped(hint)
    if is_sought(hint):
        return True
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        parts: Iterable[Hint] = typing.get_type_hints(hint).values()
    else:
        parts = get_args(hint)
    return any(has_part(part, is_sought) for part in parts)


def _shippable(function: Callable[..., Any], role: str) -> str:
    if not isinstance(function, FunctionType):
        raise InvalidArgument(
            f"{role} must be a function of a module, not {type(function).__name__} {function!r}",
            hint="write `def` at the top level of the job's module",
        )
    code = function.__code__
    where = f"{code.co_filename}:{code.co_firstlineno} {function.__name__}()"
    kind = (
        "a lambda" if function.__name__ == "<lambda>"
        else "a closure" if function.__closure__
        else "a nested function" if "<locals>" in function.__qualname__
        else ""
    )  # fmt: skip
    if kind:
        raise InvalidArgument(
            f"{role} is {kind} at {code.co_filename}:{code.co_firstlineno}: "
            "a task process finds functions by module and name",
            hint="write `def` at the top level of the job's module",
        )
    return where


def _pair_of(hint: Hint, role: str, where: str) -> tuple[Hint, Hint]:
    origin: Any = get_origin(hint)
    args = get_args(hint) if origin in _ITERABLES else ()
    pair = get_args(args[0]) if args and get_origin(args[0]) is tuple else ()
    if len(pair) != 2 or pair[1] is Ellipsis:
        raise InvalidArgument(
            f"{role} {where} is declared to return {name_of(hint)}; it must be Iterator[tuple[KEY, VALUE]]"
        )
    return pair[0], pair[1]


def _column_types(columns: tuple[Hint, ...], where: str) -> tuple[Hint, Hint]:
    if not columns:
        raise InvalidArgument(
            f"map_batch {where} is declared to return columns of unknown types",
            hint="say what they hold, e.g. Annotated[pyarrow.RecordBatch, tuple[str, int]]",
        )
    return columns[0], columns[1]


def _batch_result(hint: Hint, where: str) -> tuple[Hint, Hint, Gives]:
    origin: Any = get_origin(hint)
    args = get_args(hint)
    if origin is Counter and len(args) == 1:
        return args[0], int, Gives.DICT
    if origin in _DICTS and len(args) == 2:
        return args[0], args[1], Gives.DICT
    if origin in _ITERABLES and args:
        element: Any = get_origin(args[0])
        if element is tuple and len(get_args(args[0])) == 2:
            return (*_pair_of(hint, "map_batch", where), Gives.PAIRS)
        return args[0], NoneType, Gives.KEYS
    raise InvalidArgument(
        f"map_batch {where} is declared to return {name_of(hint)}; it must be list[tuple[KEY, VALUE]] or an "
        "iterator of the same, dict[KEY, VALUE], Counter[KEY], or list[KEY] for keys without values"
    )
