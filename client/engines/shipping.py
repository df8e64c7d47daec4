"""Makes a task that another engine can send to its workers.

The engine's own pickler (cloudpickle) carries the functions of the job by value, so workers need this package
and no copy of the job's modules.  It knows functions and classes.  What `functools.cache` makes, and each
NewType, is taken apart here and made anew there; what else a module of the job has that pickles by its name
is refused, because a worker has no such module, or another one of its name.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from types import FunctionType, ModuleType
from typing import Any, Final, Generic, NewType, Protocol, TypeVar

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.local.carried import Outcome, outcome_of

__all__ = ["Pickler", "Shipped", "shippable"]

T = TypeVar("T")
R = TypeVar("R")

_CACHED: Final = type(lru_cache(len))
_BY_VALUE: Final = (FunctionType, ModuleType, type)
_UNFIT: Final = (pickle.PicklingError, TypeError, ValueError, AttributeError, RecursionError)


class Pickler(Protocol):
    """The module cloudpickle, or the copy of it that an engine brings."""

    CloudPickler: type[Any]

    def register_pickle_by_value(self, module: Any) -> None: ...
    def unregister_pickle_by_value(self, module: Any) -> None: ...
    def list_registry_pickle_by_value(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Shipped(Generic[R]):
    """What came of a task, and what its worker's `hash` makes of a text."""

    outcome: Outcome[R]
    hashed: int


def shippable(run: Callable[[T], R], sources: Collection[str], pickler: Pickler) -> Callable[[T], Shipped[R]]:
    """The function as one that any pickler can send, with what comes from these files in it.

    Raises InvalidArgument for what cannot be sent.
    """
    with _by_value(sources, pickler) as modules:
        return partial(_run_shipped, _pickled(run, modules, pickler))


def _run_shipped(shipped: bytes, task: Any) -> Shipped[Any]:
    return Shipped(outcome_of(_unpacked(shipped), task), hash("ringmill"))


@lru_cache(maxsize=1)
def _unpacked(shipped: bytes) -> Callable[[Any], Any]:
    """A worker runs many tasks of one stage."""
    run: Callable[[Any], Any] = pickle.loads(shipped)  # noqa: S301  from whoever may run code there anyway
    return run


def _pickled(run: Callable[..., Any], modules: Collection[str], pickler: Pickler) -> bytes:
    base: Any = pickler.CloudPickler

    class ByValue(base):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if getattr(obj, "__module__", None) in modules and not isinstance(obj, _BY_VALUE):
                if isinstance(obj, _CACHED):
                    settings: Any = obj.cache_parameters()
                    return _cached_anew, (obj.__wrapped__, settings["maxsize"], settings["typed"])
                if isinstance(obj, NewType):
                    return _new_type_anew, (obj.__name__, obj.__supertype__, obj.__module__)
                if isinstance(name := obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL), str):
                    raise InvalidArgument(
                        f"{obj.__module__}.{name} is a {type(obj).__name__}, which travels to no worker of "
                        "another engine",
                        hint="make it within the function that needs it, or import it from a package that "
                        "the workers have",
                    )
            return super().reducer_override(obj)

    written = io.BytesIO()
    try:
        ByValue(written).dump(run)
    except InvalidArgument:
        raise
    except _UNFIT as error:
        raise InvalidArgument(
            f"the job cannot be sent to workers of another engine: {type(error).__name__}: {error!s:.500}",
            hint="make within the functions what their module keeps and cannot be sent",
        ) from error
    return written.getvalue()


def _cached_anew(wrapped: Callable[..., Any], maxsize: int | None, typed: bool) -> Callable[..., Any]:
    return lru_cache(maxsize, typed)(wrapped)


def _new_type_anew(name: str, supertype: Any, module: str) -> Any:
    made = NewType(name, supertype)  # type: ignore[misc]
    made.__module__ = module
    return made


@contextmanager
def _by_value(sources: Collection[str], pickler: Pickler) -> Iterator[frozenset[str]]:
    """Meanwhile functions and classes of the modules in these files are pickled by value; their names, with
    the main module's, for which the pickler does so anyway."""
    known = pickler.list_registry_pickle_by_value()
    modules = [
        module for module in list(sys.modules.values()) if getattr(module, "__file__", None) in sources
    ]
    names = frozenset(("__main__", *(module.__name__ for module in modules)))
    ours = [module for module in modules if module.__name__ not in known]
    for module in ours:
        pickler.register_pickle_by_value(module)
    try:
        yield names
    finally:
        for module in ours:
            pickler.unregister_pickle_by_value(module)
