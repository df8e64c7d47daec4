"""Makes a task that another engine can send to its workers.

The engine's own pickler (cloudpickle) carries the functions of the job by value, so workers need this package
and no copy of the job's modules.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar

from ringmill.cluster.mapreduce.local.carried import Outcome, outcome_of

__all__ = ["Pickler", "shippable"]

T = TypeVar("T")
R = TypeVar("R")


class Pickler(Protocol):
    """The module cloudpickle, or the copy of it that an engine brings."""

    def dumps(self, obj: Any) -> bytes: ...
    def register_pickle_by_value(self, module: Any) -> None: ...
    def unregister_pickle_by_value(self, module: Any) -> None: ...
    def list_registry_pickle_by_value(self) -> Any: ...


def shippable(run: Callable[[T], R], sources: Collection[str], pickler: Pickler) -> Callable[[T], Outcome[R]]:
    """The function as one that any pickler can send, with what comes from these files in it."""
    with _by_value(sources, pickler):
        return partial(_run_shipped, pickler.dumps(run))


def _run_shipped(shipped: bytes, task: Any) -> Outcome[Any]:
    return outcome_of(_unpacked(shipped), task)


@lru_cache(maxsize=1)
def _unpacked(shipped: bytes) -> Callable[[Any], Any]:
    """A worker runs many tasks of one stage."""
    run: Callable[[Any], Any] = pickle.loads(shipped)  # noqa: S301  from whoever may run code there anyway
    return run


@contextmanager
def _by_value(sources: Collection[str], pickler: Pickler) -> Iterator[None]:
    """Meanwhile functions and classes of the modules in these files are pickled by value."""
    known = pickler.list_registry_pickle_by_value()
    modules = [
        module
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) in sources and module.__name__ not in known
    ]
    for module in modules:
        pickler.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            pickler.unregister_pickle_by_value(module)
