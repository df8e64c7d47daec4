"""Switches off a safeguard: replaces an attribute of production code for a while.

A bend names its target by reference and not by a string, so that a rename reaches it.  A bend without a
target fails when the ablations are imported, and so does one that cannot take what its target takes: a call
that fails would be taken for a safeguard that is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from inspect import Parameter, Signature, getattr_static, signature
from types import FunctionType, ModuleType

from ringmill.simulator.options import SimulationOptions

__all__ = ["Ablation", "Bend", "Bends", "bent", "constant", "method", "use"]


@dataclass(frozen=True, slots=True)
class Bend:
    """An attribute of a module or a class, and what stands there while it is bent."""

    owner: object
    name: str
    value: object


Bends = tuple[Bend, ...]


@dataclass(frozen=True, slots=True)
class Ablation:
    """`name` is what SimulationOptions.safeguards_off and the table say; `safeguard` says it in words.

    `rules` are the rules of docs/protocol that break without it; their pages name it as what shows them.
    `under` are the options of the runs that look for it, when those of any run meet it too seldom.
    """

    name: str
    safeguard: str
    bends: Bends
    under: SimulationOptions | None = None
    rules: tuple[str, ...] = field(kw_only=True)

    def off(self) -> AbstractContextManager[None]:
        """Inside this block the safeguard is switched off."""
        return bent(*self.bends)


def method(reference: Callable[..., object] | property, value: object) -> Bend:
    """Bend a method or a property of a class, whoever uses it.

    Raises TypeError for anything else, and for a value that cannot be called as the method is.
    """
    function = reference.fget if isinstance(reference, property) else reference
    if not isinstance(function, FunctionType):
        raise TypeError(f"{reference!r} is no method of a class")
    *path, name = function.__qualname__.split(".")
    owner: object = reduce(getattr, path, sys.modules[function.__module__])
    if not path or getattr_static(owner, name) is not reference:
        raise TypeError(f"{function.__qualname__} is not what {owner!r} has under that name")
    _check_call(function, value.fget if isinstance(value, property) else value)
    return Bend(owner, name, value)


def use(module: ModuleType, reference: Callable[..., object], value: object) -> Bend:
    """Bend what one module calls by a name of its own.

    Raises TypeError when it has no such name, and for a value that cannot be called in its place.
    """
    name = reference.__name__
    if getattr(module, name, None) is not reference:
        raise TypeError(f"{module.__name__} does not use {reference.__module__}.{name}")
    _check_call(reference, value)
    return Bend(module, name, value)


def constant(module: ModuleType, name: str, value: object) -> Bend:
    """Bend a number of a module.  Raises AttributeError when it has none of that name."""
    getattr(module, name)
    return Bend(module, name, value)


def _check_call(reference: Callable[..., object], value: object) -> None:
    """Raises TypeError unless `value` takes all arguments of the reference at once, and the fewest."""
    if not isinstance(value, FunctionType):
        return
    wanted, given = signature(reference), signature(value)
    try:
        for parameters in (_all_of(wanted), _needed_of(wanted)):
            places = [each for each in parameters if each.kind is not Parameter.KEYWORD_ONLY]
            names = {each.name: None for each in parameters if each.kind is Parameter.KEYWORD_ONLY}
            given.bind(*places, **names)
    except TypeError as error:
        raise TypeError(f"what bends {reference.__qualname__} cannot be called as it is: {error}") from None


def _all_of(wanted: Signature) -> list[Parameter]:
    open_ended = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return [each for each in wanted.parameters.values() if each.kind not in open_ended]


def _needed_of(wanted: Signature) -> list[Parameter]:
    return [each for each in _all_of(wanted) if each.default is Parameter.empty]


@contextmanager
def bent(*bends: Bend) -> Iterator[None]:
    """While inside, everything named has the other value."""
    former = [(bend.owner, bend.name, getattr_static(bend.owner, bend.name)) for bend in bends]
    for bend in bends:
        setattr(bend.owner, bend.name, bend.value)
    try:
        yield
    finally:
        for owner, name, original in former:
            setattr(owner, name, original)
