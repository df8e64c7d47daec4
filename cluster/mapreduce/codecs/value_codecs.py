"""Encodes values as msgpack, many at a time.

Pure.  Types that msgpack returns unchanged are packed in one C call; tuples among lists, dataclasses and
dicts with composite keys are converted one by one.  Integers of any size and strings with lone surrogates
keep their value.  Where the hint says nothing (Any, list, dict), tuples come back as lists.

Layout: docs/formats/run.md, "Values".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import msgpack

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.dataclass_hints import check_made_again, maker_of, reader_of
from ringmill.cluster.mapreduce.codecs.signatures import has_part, name_of, unwrapped
from ringmill.cluster.mapreduce.failures import shown

__all__ = ["ValueCodec", "pack_block", "unpack_block", "value_codec"]

Convert = Callable[[Any], Any]

_BIG_INT: Final = 1
_UNFIT: Final = (AttributeError, TypeError, ValueError)
_SCALARS: Final[dict[Any, tuple[type, ...]]] = {
    int: (int,),
    float: (float, int),
    str: (str,),
    bytes: (bytes,),
    bool: (bool,),
    NoneType: (NoneType,),
    None: (NoneType,),
    list: (list,),
    dict: (dict,),
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """How values of one hint cross."""

    allowed: frozenset[type] | None  # the types they may have; None: whatever msgpack takes
    lower: Convert | None = None  # makes what msgpack packs; None: it packs them as they are
    rebuild: Convert | None = None  # makes them again from arrays unpacked as lists; None: they are right so
    rebuild_all: Callable[[Sequence[Any]], list[Any]] | None = None  # the same of many, element by element
    has_tuple: bool = False
    has_list: bool = False


class ValueCodec:
    """Turns lists of values of one type into what msgpack packs, and back."""

    def __init__(self, shape: _Shape, name: str, *, is_open: bool = False) -> None:
        """`is_open` where the hint leaves types open: values may come back otherwise than they went."""
        self._is_open = is_open
        needs_rebuild = shape.lower is not None or (shape.has_tuple and shape.has_list)
        self._allowed = shape.allowed
        self._lower = shape.lower
        self._rebuild = shape.rebuild if needs_rebuild else None
        self._rebuild_all = shape.rebuild_all if needs_rebuild else None
        self._name = name
        self.uses_lists = shape.has_list or needs_rebuild

    def check(self, values: list[Any]) -> None:
        """Raises InvalidArgument naming the first value that the hint forbids."""
        if self._allowed is not None and not self._allowed.issuperset(map(type, values)):
            wrong = next(value for value in values if type(value) not in self._allowed)
            raise InvalidArgument(
                f"a value of type {type(wrong).__name__} where the hint says {self._name}: "
                f"{shown(wrong, 200)}"
            )

    def to_wire(self, values: list[Any]) -> list[Any]:
        """Check and convert.  Raises InvalidArgument like `check`."""
        self.check(values)
        if self._lower is None:
            return values
        try:
            return list(map(self._lower, values))
        except _UNFIT as error:
            raise self._unfit(values) from error

    def _unfit(self, values: list[Any]) -> InvalidArgument:
        """The error for the first value of which a part is not what the hint says."""
        assert self._lower is not None
        for value in values:
            try:
                self._lower(value)
            except _UNFIT as error:
                return InvalidArgument(f"a value that is no {self._name}: {shown(value, 200)}: {error}")
        return InvalidArgument(f"a value that is no {self._name}, and changes while it is looked at")

    def from_wire(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values that `to_wire` was given."""
        if self._rebuild_all is not None:
            return self._rebuild_all(values)
        return values if self._rebuild is None else list(map(self._rebuild, values))

    def as_received(self, value: Any) -> Any:
        """What comes out of a value that travels.  Where that is the value, nothing looks at its type.

        Raises InvalidArgument like `to_wire`.
        """
        if not self._is_open:
            return value
        packed = pack_block(self.to_wire([value]))
        return self.from_wire(unpack_block(packed, use_lists=self.uses_lists))[0]


def value_codec(hint: Any, where: str) -> ValueCodec:
    """The codec of values of the hinted type.  `where` names the function in what InvalidArgument says."""
    return ValueCodec(_shape_of(hint, where), name_of(hint), is_open=has_part(hint, _is_open))


def pack_block(block: Any) -> bytes:
    """A block of wire values as msgpack.  Raises InvalidArgument for values that have no such form.

    Told how to write lone surrogates, msgpack takes twice as long for every str; few blocks have any.
    """
    packed: bytes
    try:
        try:
            packed = msgpack.packb(block, default=_pack_other)
        except UnicodeEncodeError:
            packed = msgpack.packb(block, default=_pack_other, unicode_errors="surrogatepass")
    except InvalidArgument:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidArgument(
            f"a value that cannot travel: {error}",
            hint="a value is nested at most some 1,000 deep, holds nothing that holds it, and has less than "
            "4 GiB",
        ) from error
    return packed


def unpack_block(data: bytes, *, use_lists: bool) -> Any:
    """What `pack_block` packed, arrays as lists or all as tuples; those that are keys of dicts as tuples."""
    try:
        return _unpacked(data, use_lists)
    except TypeError:  # a dict has an array as a key, which no list can be; seldom, so it is read again
        return _unpacked(data, use_lists, _with_tuples_as_keys)


def _unpacked(data: bytes, use_lists: bool, to_dict: Callable[[list[Any]], Any] | None = None) -> Any:
    return msgpack.unpackb(
        data,
        use_list=use_lists,
        strict_map_key=False,
        object_pairs_hook=to_dict,
        ext_hook=_unpack_other,
        unicode_errors="surrogatepass",
    )


def _with_tuples_as_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_frozen(key): value for key, value in pairs}


def _frozen(key: Any) -> Any:
    return tuple(map(_frozen, key)) if isinstance(key, list) else key


def _pack_other(value: Any) -> msgpack.ExtType:
    if isinstance(value, int):
        return msgpack.ExtType(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    raise InvalidArgument(f"a value of type {type(value).__name__} cannot travel: {shown(value, 200)}")


def _unpack_other(code: int, data: bytes) -> Any:
    if code != _BIG_INT:
        raise ValueError(f"unknown msgpack extension {code}")
    return int.from_bytes(data, "big", signed=True)


def _shape_of(hint: Any, where: str, *, is_key: bool = False) -> _Shape:
    """`is_key` in what is a key of a dict, or a part of one: nothing there comes back as a list."""
    hint = unwrapped(hint)
    if hint in (Any, object):
        return _Shape(None, rebuild=_frozen if is_key else None, has_list=True)
    if hint in _SCALARS:
        return _Shape(frozenset(_SCALARS[hint]), has_list=hint in (list, dict))
    shape = _composite_shape(hint, where, is_key=is_key)
    if shape is not None:
        return shape
    raise InvalidArgument(
        f"{where}: {hint!r} cannot be a value",
        hint="values are int, float, str, bytes, bool, None, tuples, lists, dicts, dataclasses, "
        "or unions of the plain ones",
    )


def _is_open(hint: Any) -> bool:
    """Whether a tuple may stand in a place where the hint does not tell of it: it comes back as a list."""
    return hint in (Any, object, list, dict)


def _composite_shape(hint: Any, where: str, *, is_key: bool) -> _Shape | None:
    origin: Any = get_origin(hint)
    args = get_args(hint)
    part = partial(_shape_of, where=where, is_key=is_key)
    shape: _Shape | None = None
    if origin in (Union, UnionType):
        shape = _union_shape(hint, args, where, part)
    elif origin is tuple:
        shape = _tuple_shape(args, part)
    elif origin is list:
        shape = _list_shape(part(args[0]))
    elif origin is dict:
        shape = _dict_shape(args[0], part(args[0], is_key=True), part(args[1]))
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        shape = _dataclass_shape(hint, where, part)
    return shape


def _union_shape(hint: Any, args: tuple[Any, ...], where: str, part: Callable[..., _Shape]) -> _Shape:
    """Plain types in any mixture; a type that is converted only beside None."""
    shapes = [part(arg) for arg in args if arg not in (None, NoneType)]
    converted = [shape for shape in shapes if shape.lower or shape.has_tuple]
    if converted and len(shapes) > 1:
        raise InvalidArgument(
            f"{where}: {hint} mixes types that cannot be told apart once packed",
            hint="give one type, a dataclass, or TYPE | None",
        )
    allowed = [shape.allowed for shape in shapes]
    types: set[type] = {NoneType} if len(shapes) < len(args) else set()
    types.update(*(each for each in allowed if each is not None))
    one = shapes[0]
    return _Shape(
        None if None in allowed else frozenset(types),
        _unless_none(one.lower) if converted else None,
        _unless_none(one.rebuild) if len(shapes) == 1 else None,
        has_tuple=one.has_tuple,
        has_list=any(shape.has_list for shape in shapes),
    )


def _tuple_shape(args: tuple[Any, ...], part: Callable[..., _Shape]) -> _Shape:
    if len(args) == 2 and args[1] is Ellipsis:
        inner = part(args[0])
        return dataclasses.replace(_list_shape(inner, tuple), has_tuple=True, has_list=inner.has_list)
    shapes = [part(arg) for arg in args]
    return _row_shape(frozenset((tuple,)), shapes, tuple, has_tuple=True)


def _row_shape(
    allowed: frozenset[type], shapes: Sequence[_Shape], build: Callable[[list[Any]], Any], *, has_tuple: bool
) -> _Shape:
    """A fixed number of elements, each of its own type."""
    lowers = [shape.lower or _same for shape in shapes]
    changed = [(at, shape.rebuild) for at, shape in enumerate(shapes) if shape.rebuild is not None]

    def lower(row: Sequence[Any]) -> list[Any]:
        return [convert(item) for convert, item in zip(lowers, row, strict=True)]

    def rebuild(row: Sequence[Any]) -> Any:
        elements = _of_length(len(shapes), row)
        for at, convert in changed:
            elements[at] = convert(elements[at])
        return build(elements)

    def rebuild_all(rows: Sequence[Any]) -> list[Any]:
        """One pass an element, and no call a row: a job makes millions of them."""
        if not set(map(len, rows)) <= {len(shapes)}:
            return list(map(rebuild, rows))
        columns = [list(map(itemgetter(at), rows)) for at in range(len(shapes))]
        for at, convert in changed:
            columns[at] = list(map(convert, columns[at]))
        return list(zip(*columns, strict=True))

    return _Shape(
        allowed,
        lower if any(shape.lower for shape in shapes) else None,
        rebuild,
        rebuild_all if build is tuple and shapes else None,
        has_tuple or any(shape.has_tuple for shape in shapes),
        any(shape.has_list for shape in shapes),
    )


def _list_shape(inner: _Shape, build: type[list[Any]] | type[tuple[Any, ...]] = list) -> _Shape:
    lower_one, rebuild_one = inner.lower, inner.rebuild
    rebuild: Convert | None = None if build is list else build
    if rebuild_one is not None:
        rebuild = lambda values: build(map(rebuild_one, values))  # noqa: E731 - beside its other forms
    return _Shape(
        frozenset((build,)),
        None if lower_one is None else (lambda values: list(map(lower_one, values))),
        rebuild,
        has_tuple=inner.has_tuple,
        has_list=True,
    )


def _dict_shape(key_hint: Any, key: _Shape, value: _Shape) -> _Shape:
    """A dict with plain keys is a msgpack map; one with composite keys an array of pairs.

    Former code wrote pairs also where the key is a NewType of a plain one: whoever declares that reads both.
    """
    plain_keys = unwrapped(key_hint) in _SCALARS
    lower_key, lower_value = key.lower or _same, value.lower or _same
    rebuild_key, rebuild_value = key.rebuild or _same, value.rebuild or _same
    may_be_pairs = key_hint not in _SCALARS
    is_right = not may_be_pairs and value.rebuild is None

    def lower(values: dict[Any, Any]) -> Any:
        pairs = [(lower_key(name), lower_value(item)) for name, item in values.items()]
        return dict(pairs) if plain_keys else pairs

    def rebuild(values: Any) -> dict[Any, Any]:
        pairs = values.items() if isinstance(values, dict) else values
        return {rebuild_key(name): rebuild_value(item) for name, item in pairs}

    needs_lower = may_be_pairs or value.lower is not None  # what needs none is not rebuilt
    return _Shape(
        frozenset((dict,)),
        lower if needs_lower else None,
        None if is_right else rebuild,
        has_tuple=value.has_tuple,
        has_list=True,
    )


def _dataclass_shape(hint: type, where: str, part: Callable[..., _Shape]) -> _Shape:
    """An array of the fields, in their order."""
    check_made_again(hint, where)
    hints = get_type_hints(hint)
    names = [field.name for field in dataclasses.fields(hint)]
    row = _row_shape(
        frozenset((hint,)),
        [part(hints[name]) for name in names],
        maker_of(hint),
        has_tuple=False,
    )
    lower_row, fields_of = row.lower or _same, reader_of(hint)
    return dataclasses.replace(row, lower=lambda value: lower_row(fields_of(value)))


def _unless_none(convert: Convert | None) -> Convert | None:
    return None if convert is None else (lambda value: None if value is None else convert(value))


def _of_length(count: int, row: Sequence[Any]) -> list[Any]:
    """The elements of a row.  Raises ValueError when there are more or fewer."""
    if len(row) != count:
        raise ValueError(f"{len(row)} elements where the hint has {count}: {shown(row, 200)}")
    return list(row)


def _same(value: Any) -> Any:
    return value
