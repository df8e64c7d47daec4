"""Calls a function of the job for one record or group after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from inspect import isgeneratorfunction
from itertools import starmap
from typing import Any

__all__ = ["results_of"]


def results_of(
    function: Callable[..., Iterable[tuple[Any, Any]]], records: Iterable[tuple[Any, Any]]
) -> Iterator[Iterable[tuple[Any, Any]]]:
    """What it returns for each.

    A StopIteration that it raises ends the job with an error.  Under itertools.starmap it would look like the
    end of the input, and what follows would be lost without a word.  A generator function raises nothing
    when it is called, and starmap calls it without a step of Python of its own.
    """
    return starmap(function, records) if isgeneratorfunction(function) else _called(function, records)


def _called(
    function: Callable[..., Iterable[tuple[Any, Any]]], records: Iterable[tuple[Any, Any]]
) -> Iterator[Iterable[tuple[Any, Any]]]:
    for first, second in records:
        yield function(first, second)
