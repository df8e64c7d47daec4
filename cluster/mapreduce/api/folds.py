"""Named folds: what a job can say instead of writing a combine or a reduce that everybody writes.

Pure.  A fold is bound to the type of map's values by `job()`, which refuses types that it cannot fold.  Its
result depends neither on where the input is cut nor on how often values are combined: sums of float are
exact until the last step, and NaN has no place in an order and is refused.

Sum, Count, Min and Max keep one value a key while map runs; the others keep a list that they shorten.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.codecs.signatures import Hint, Signature, name_of, unwrapped
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, shown

__all__ = [
    "BoundFold",
    "Collect",
    "Count",
    "Distinct",
    "Fold",
    "Max",
    "Min",
    "Sum",
    "Top",
    "bound_folds",
    "travelling",
]

Pair: TypeAlias = tuple[Any, Any]
Totals: TypeAlias = dict[Any, Any]
"""A value for each key."""
Guard: TypeAlias = Callable[[Any], None]

CHUNK: Final = 4096  # values of a long group in memory at a time
_NOTHING: Final = object()  # is held of a key yet; None may be what a map gave by mistake
_ORDERED: Final = (int, float, str, bytes, bool)


@dataclass(frozen=True, slots=True)
class BoundFold:
    """A fold of values of one type.

    `shorten` takes what travels and gives fewer values that stand for them; `finish` gives what reduce
    writes.  `add` folds pairs of map into one value a key; without it the values are kept in lists.
    """

    fold: Fold
    travels: Hint  # type of the values between map and reduce
    gives: Hint  # type of the value that reduce writes
    shorten: Callable[[Iterable[Any]], list[Any]]
    finish: Callable[[Iterable[Any]], Any]
    add: Callable[[Totals, Iterable[Pair]], None] | None = None
    merge: Callable[[Totals, Iterable[Pair]], None] | None = None  # as `add`, of what travels

    @property
    def is_one_value(self) -> bool:
        """Whether it makes one value, of their type, of those that travel: then `update` gets that one."""
        return bool(self.gives == self.travels)


class Fold:
    """What Sum, Count, Min, Max, Top, Distinct and Collect have in common."""

    __slots__ = ()

    def bind(self, value: Hint, where: str) -> BoundFold:
        """The fold of values of this type, which the function at `where` gives.  Raises InvalidArgument."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Sum(Fold):
    """The sum of the values of each key: int, or float.

    A sum of float is the exact sum rounded once (as math.fsum gives it), so that it is the same for every
    order and cut.  Beyond the range of float it is infinite.
    """

    def bind(self, value: Hint, where: str) -> BoundFold:
        plain = unwrapped(value)
        if plain is int:
            return BoundFold(self, value, value, _int_sum, sum, _add_ints, _add_ints)
        if plain is float:
            return BoundFold(self, value, value, _float_parts, _float_sum)
        raise _unfit("Sum() adds int or float", value, where)


@dataclass(frozen=True, slots=True)
class Count(Fold):
    """How many values each key has, whatever they are."""

    def bind(self, value: Hint, where: str) -> BoundFold:
        return BoundFold(self, int, int, _int_sum, sum, _add_occurrences, _add_ints)


@dataclass(frozen=True, slots=True)
class Min(Fold):
    """The smallest value of each key; of equal ones the first."""

    def bind(self, value: Hint, where: str) -> BoundFold:
        guard = _guard(self, value, where)
        keep = partial(_keep_least, guard)

        def least(values: Iterable[Any]) -> Any:
            return min(_guarded(guard, values))

        return BoundFold(self, value, value, lambda values: [least(values)], least, keep, keep)


@dataclass(frozen=True, slots=True)
class Max(Fold):
    """The largest value of each key; of equal ones the first."""

    def bind(self, value: Hint, where: str) -> BoundFold:
        guard = _guard(self, value, where)
        keep = partial(_keep_most, guard)

        def most(values: Iterable[Any]) -> Any:
            return max(_guarded(guard, values))

        return BoundFold(self, value, value, lambda values: [most(values)], most, keep, keep)


@dataclass(frozen=True, slots=True)
class Top(Fold):
    """The `n` largest values of each key as a list, largest first; of equal ones the first."""

    n: int

    def __post_init__(self) -> None:
        if type(self.n) is not int or self.n < 1:
            raise InvalidArgument(f"Top(n) keeps n values, n is at least 1, not {self.n!r:.40}")

    def bind(self, value: Hint, where: str) -> BoundFold:
        guard, n = _guard(self, value, where), self.n

        def largest(values: Iterable[Any]) -> list[Any]:
            return heapq.nlargest(n, _guarded(guard, values))

        return BoundFold(self, value, list[value], largest, largest)


@dataclass(frozen=True, slots=True)
class Distinct(Fold):
    """The values of each key as a list, equal ones once, in the order of their first occurrence."""

    def bind(self, value: Hint, where: str) -> BoundFold:
        if not _is_hashable(value):
            raise _unfit("Distinct() compares int, str, bytes, bool, None and tuples of these", value, where)
        return BoundFold(self, value, list[value], _distinct, _distinct)


@dataclass(frozen=True, slots=True)
class Collect(Fold):
    """All values of each key as a list, in the order of the input.  The list has to fit into memory."""

    def bind(self, value: Hint, where: str) -> BoundFold:
        return BoundFold(self, value, list[value], list, list)


def _unfit(what: str, value: Hint, where: str) -> InvalidArgument:
    return InvalidArgument(f"{what}; {where} gives values of type {name_of(value)}")


def _int_sum(values: Iterable[int]) -> list[int]:
    return [sum(values)]


def _add_ints(totals: Totals, pairs: Iterable[Pair]) -> None:
    held = totals.get
    for key, value in pairs:
        totals[key] = held(key, 0) + value


def _add_occurrences(totals: Totals, pairs: Iterable[Pair]) -> None:
    held = totals.get
    for key, _ in pairs:
        totals[key] = held(key, 0) + 1


def _keep_least(guard: Guard, totals: Totals, pairs: Iterable[Pair]) -> None:
    held = totals.get
    for key, value in pairs:
        guard(value)
        least = held(key, _NOTHING)
        if least is _NOTHING or value < least:
            totals[key] = value


def _keep_most(guard: Guard, totals: Totals, pairs: Iterable[Pair]) -> None:
    held = totals.get
    for key, value in pairs:
        guard(value)
        most = held(key, _NOTHING)
        if most is _NOTHING or value > most:
            totals[key] = value


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _float_parts(values: Iterable[float]) -> list[float]:
    """A few floats with exactly the sum of the given ones: the rounded sum, what rounding lost, and so on.

    Values whose sum passes the range of float on the way stay as they are.
    """
    try:
        rest = list(map(float, values))
    except OverflowError as error:
        raise TaskFailed(Cause.USER_ERROR, f"Sum() of float got {error}") from error
    parts: list[float] = []
    try:
        while (part := math.fsum(rest)) != 0.0:
            if not math.isfinite(part):
                return [part]
            parts.append(part)
            rest.append(-part)
    except ValueError:  # infinities of both signs
        return [math.nan]
    except OverflowError:
        return rest[: len(rest) - len(parts)]
    return parts or [0.0]


def _float_sum(values: Iterable[float]) -> float:
    values = iter(values)
    parts: list[float] = []
    while more := list(islice(values, CHUNK)):
        parts = _float_parts(chain(parts, more))
    try:
        return math.fsum(parts)
    except OverflowError:
        if infinite := [part for part in parts if not math.isfinite(part)]:
            return sum(infinite)
        total = sum(map(Fraction, parts))
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def _guard(fold: Fold, value: Hint, where: str) -> Guard:
    """Refuses NaN, if values of this type can hold it.

    Raises InvalidArgument for a type without an order.
    """
    name = type(fold).__name__
    if not _is_ordered(value):
        raise _unfit(f"{name}() compares int, float, str, bytes, bool and tuples of these", value, where)
    if not _holds_float(value):
        return _pass

    def refuse_nan(each: Any) -> None:
        if _has_nan(each):
            message = f"{name}() of {where} got {shown(each, 100)}: NaN is neither smaller nor larger"
            raise TaskFailed(Cause.USER_ERROR, message)

    return refuse_nan


def _pass(value: Any) -> None:
    """What a guard does where there is no NaN."""


def _guarded(guard: Guard, values: Iterable[Any]) -> Iterator[Any]:
    for each in values:
        guard(each)
        yield each


def _has_nan(value: Any) -> bool:
    if type(value) is tuple:
        return any(map(_has_nan, value))
    return type(value) is float and math.isnan(value)


def _is_ordered(hint: Hint) -> bool:
    hint = unwrapped(hint)
    return hint in _ORDERED or (_is_tuple(hint) and all(map(_is_ordered, _elements(hint))))


def _holds_float(hint: Hint) -> bool:
    hint = unwrapped(hint)
    return hint is float or (_is_tuple(hint) and any(map(_holds_float, _elements(hint))))


def _is_hashable(hint: Hint) -> bool:
    """Whether equal values of the type are one dict key, and NaN, which equals nothing, is none of them."""
    hint = unwrapped(hint)
    if _is_tuple(hint):
        return all(map(_is_hashable, _elements(hint)))
    return hint in (int, str, bytes, bool, NoneType)


def _is_tuple(hint: Hint) -> bool:
    origin: Any = get_origin(hint)
    return origin is tuple


def _elements(hint: Hint) -> list[Hint]:
    return [each for each in get_args(hint) if each is not Ellipsis]


def bound_folds(
    combine: object, reduce: object, maker: Signature
) -> tuple[BoundFold | None, BoundFold | None]:
    """The named folds among combine and reduce, bound to the types that they get.

    Raises InvalidArgument for two whose result would depend on where the input is cut.
    """
    if isinstance(reduce, Fold) and combine is None:
        combine = reduce
    if isinstance(combine, Fold) and not isinstance(reduce, Fold):
        _check_lone_combine(combine, reduce, maker)
    elif isinstance(combine, Fold) and combine != reduce and (combine, reduce) != (Count(), Sum()):
        raise InvalidArgument(
            f"reduce={reduce!r} of what combine={combine!r} leaves depends on where the input is cut",
            hint=f"leave combine out: reduce={reduce!r} combines by itself",
        )
    elif isinstance(reduce, Count) and not isinstance(combine, Fold):
        raise InvalidArgument(
            "reduce=Count() counts the values that map gives, and combine would change their number",
            hint="leave combine out: Count() combines by itself",
        )
    bound = combine.bind(maker.out_value, maker.where) if isinstance(combine, Fold) else None
    if not isinstance(reduce, Fold):
        return bound, None
    if combine == reduce and bound is not None:
        return (None if isinstance(combine, Collect) else bound), bound
    return bound, reduce.bind(travelling(maker, bound), maker.where)


def _check_lone_combine(combine: Fold, reduce: object, maker: Signature) -> None:
    """A fold before a function: each map task leaves a result of its own, or several."""
    if reduce is None:
        raise InvalidArgument(
            f"combine={combine!r} without a reduce would write a result of each part of the input",
            hint=f"say reduce={combine!r}; it combines by itself",
        )
    bound = combine.bind(maker.out_value, maker.where)
    if isinstance(combine, Sum) and bound.add is None:
        raise InvalidArgument(
            "combine=Sum() of float leaves several values a key, which only reduce=Sum() adds without "
            "rounding twice",
            hint="say reduce=Sum(), or round to int in map",
        )


def travelling(maker: Signature, combine_fold: BoundFold | None) -> Hint:
    """The type of the values between map and reduce."""
    return maker.out_value if combine_fold is None else combine_fold.travels
