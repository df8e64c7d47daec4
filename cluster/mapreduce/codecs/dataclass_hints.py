"""Which dataclasses may be keys and values: those that a task can make again from their fields, and of keys
those that are equal exactly when all of their fields are.

Pure.  Map tasks group keys by ==, and everything behind them by bytes, which hold all fields.  If == leaves
one out, which value of it stays would depend on where the input is cut.

They are made again as copy and pickle make them, without `__init__`: how often a record travels depends on
the splits and on memory, so a `__post_init__` that changes a field must not see it a second time.
"""

from __future__ import annotations

import dataclasses
import dis
from collections.abc import Callable, Iterable
from inspect import getattr_static
from itertools import pairwise
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.failures import shown

__all__ = ["check_key_class", "check_made_again", "maker_of", "reader_of"]

_MADE_BY_DATACLASS: Final = "<string>"  # where the code of a method is that dataclass() has written
_OF_GENERICS: Final = "__orig_class__"  # which typing sets on what `Row[int](...)` makes


def check_key_class(hint: type, where: str) -> None:
    """Raises InvalidArgument for a dataclass that cannot be a key."""
    check_made_again(hint, where)
    if hint.__hash__ is None:
        raise InvalidArgument(f"{where}: dataclass {hint.__name__} is a key, so it must be frozen=True")
    owner = next(each for each in hint.__mro__ if "__eq__" in vars(each))
    code: Any = getattr(vars(owner)["__eq__"], "__code__", None)
    compared: set[str] = set()
    if code is not None and code.co_filename == _MADE_BY_DATACLASS:
        compared = {field.name for field in dataclasses.fields(owner) if field.compare}
    others = [field.name for field in dataclasses.fields(hint) if field.name not in compared]
    if others:
        raise InvalidArgument(
            f"{where}: dataclass {hint.__name__} is a key, and its __eq__ does not compare "
            f"{', '.join(others)} as dataclass() would: equal keys would be written as different ones",
            hint="leave eq=False, compare=False and an __eq__ of its own out, or give tuples as keys",
        )


def check_made_again(hint: type, where: str) -> None:
    """Raises InvalidArgument for a dataclass that takes some of its fields from nobody, or whose
    `__post_init__` says by itself that it sets more than its fields; `reader_of` finds what others set."""
    if unset := [field.name for field in dataclasses.fields(hint) if not field.init]:
        raise InvalidArgument(
            f"{where}: dataclass {hint.__name__} has {', '.join(unset)} with init=False, and a task makes it "
            "again from all of its fields",
            hint="make it a property",
        )
    if more := _beside_fields(hint):
        raise InvalidArgument(
            f"{where}: __post_init__ of dataclass {hint.__name__} sets {', '.join(more)}, which is no field, "
            "and a task makes it again from its fields alone",
            hint="make it a property",
        )


def maker_of(hint: type) -> Callable[[Iterable[Any]], Any]:
    """What makes an instance of a dataclass from the values of its fields, in their order."""
    names = [field.name for field in dataclasses.fields(hint)]
    new: Any = hint.__new__
    put = object.__setattr__

    def made(values: Iterable[Any]) -> Any:
        instance = new(hint)
        for name, value in zip(names, values, strict=True):
            put(instance, name, value)
        return instance

    return made


def reader_of(hint: type) -> Callable[[Any], list[Any]]:
    """What gives the values of the fields of an instance, in their order.

    It raises InvalidArgument for an instance of which code of its class has made more than its fields.  What
    a descriptor keeps, as cached_property does, is made again when it is asked for.
    """
    names = [field.name for field in dataclasses.fields(hint)]

    def read(instance: Any) -> list[Any]:
        return [getattr(instance, name) for name in names]

    def read_checked(instance: Any) -> list[Any]:
        known = getattr(instance, "__dict__", {})
        if not known.keys() <= fields and (more := [name for name in known if is_lost(name)]):
            raise InvalidArgument(
                f"{shown(instance, 200)}: it has {', '.join(sorted(more))} beside its fields, and a task "
                "makes it again from its fields alone: make that a property"
            )
        return read(instance)

    def is_lost(name: str) -> bool:
        kept = getattr_static(hint, name, None)
        return name not in fields and name != _OF_GENERICS and not hasattr(type(kept), "__get__")

    fields = set(names)
    init: Any = getattr(getattr_static(hint, "__init__"), "__code__", None)
    is_plain = init is not None and init.co_filename == _MADE_BY_DATACLASS
    return read if is_plain and not hasattr(hint, "__post_init__") else read_checked


def _beside_fields(hint: type) -> list[str]:
    """The attributes that `__post_init__` gives to the instance beside its fields."""
    code: Any = getattr(getattr(hint, "__post_init__", None), "__code__", None)
    if code is None:
        return []
    itself = code.co_varnames[0]
    steps = list(dis.get_instructions(code))
    stored = [
        step.argval
        for before, step in pairwise(steps)
        if step.opname == "STORE_ATTR" and itself in (before.argval, *_pair(before.argval)[-1:])
    ]
    fields = {field.name for field in dataclasses.fields(hint)}
    more = set(stored + _set_by_object(steps, itself)) - fields
    return sorted(name for name in more if not isinstance(getattr_static(hint, name, None), property))


def _set_by_object(steps: list[dis.Instruction], itself: str) -> list[str]:
    """The names in `object.__setattr__(self, "name", ...)`, as frozen ones say it."""
    found = []
    for at, step in enumerate(steps):
        if step.argval == "__setattr__":
            given = [each for each in steps[at + 1 : at + 4] if each.opname.startswith("LOAD_")]
            found += [each for each in given if each.argval != itself][:1]
    return [each.argval for each in found if each.opname == "LOAD_CONST" and isinstance(each.argval, str)]


def _pair(argval: Any) -> tuple[Any, ...]:
    """Newer Pythons load two names in one step."""
    return argval if isinstance(argval, tuple) else ()
