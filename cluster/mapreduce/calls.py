"""Calls a function of the job for one record or group after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import isgeneratorfunction
from itertools import chain, starmap
from typing import Any, TypeAlias

from ringmill.cluster.mapreduce.context import Context

__all__ = ["Passing", "pairs_over", "results_of"]

Pair: TypeAlias = tuple[Any, Any]


class Passing:
    """A map or reduce of the engine's own that takes many records or groups, so that none costs a call."""

    __slots__ = ()

    def over(self, records: Iterable[Pair], context: Context) -> Iterator[Pair]:
        """The pairs of all of them.  It takes one when it is done with those before."""
        raise NotImplementedError


def pairs_over(
    function: Callable[..., Iterable[Pair]],
    records: Iterable[Pair],
    context: Context,
    *,
    wants_context: bool,
) -> Iterator[Pair]:
    """What a map gives for all records, or a reduce for all groups."""
    if isinstance(function, Passing):
        return function.over(records, context)
    given = partial(function, ctx=context) if wants_context else function
    return chain.from_iterable(results_of(given, records))


def results_of(function: Callable[..., Iterable[Pair]], records: Iterable[Pair]) -> Iterator[Iterable[Pair]]:
    """What it returns for each.

    A StopIteration that it raises ends the job with an error.  Under itertools.starmap it would look like the
    end of the input, and what follows would be lost without a word.  A generator function raises nothing
    when it is called, and starmap calls it without a step of Python of its own.
    """
    return starmap(function, records) if isgeneratorfunction(function) else _called(function, records)


def _called(function: Callable[..., Iterable[Pair]], records: Iterable[Pair]) -> Iterator[Iterable[Pair]]:
    for first, second in records:
        yield function(first, second)
