"""Switches off a safeguard: replaces an attribute of production code for a while.

A patch names its target by reference and not by a string, so that a rename reaches it.  A patch without a
target fails when the ablations are imported, and so does one that cannot take the arguments of its target:
else the failing call would turn the run red, and the safeguard would seem to have been needed.
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

__all__ = ["Ablation", "Patch", "Patches", "constant", "function", "method", "patched"]


@dataclass(frozen=True, slots=True)
class Patch:
    """An attribute of a module or a class, and the value that it has while the patch is applied."""

    owner: object
    name: str
    value: object


Patches = tuple[Patch, ...]


@dataclass(frozen=True, slots=True)
class Ablation:
    """`name` is what SimulationOptions.safeguards_off and the table say; `safeguard` says it in words.

    `rules` are the rules of docs/protocol that break without it; their pages name it as what shows them.
    `under` are the options of the runs that look for it, when those of any run meet it too seldom.
    """

    name: str
    safeguard: str
    patches: Patches
    under: SimulationOptions | None = None
    rules: tuple[str, ...] = field(kw_only=True)

    def off(self) -> AbstractContextManager[None]:
        """Inside this block the safeguard is switched off."""
        return patched(*self.patches)


def method(reference: Callable[..., object] | property, value: object) -> Patch:
    """Patch a method or a property of a class, for all its callers.

    Raises TypeError for anything else, and for a value that cannot be called as the method is.
    """
    original = reference.fget if isinstance(reference, property) else reference
    if not isinstance(original, FunctionType):
        raise TypeError(f"{reference!r} is not a method of a class")
    *path, name = original.__qualname__.split(".")
    owner: object = reduce(getattr, path, sys.modules[original.__module__])
    if not path or getattr_static(owner, name) is not reference:
        raise TypeError(f"{original.__qualname__} is not what {owner!r} has under that name")
    _check_call(original, value.fget if isinstance(value, property) else value)
    return Patch(owner, name, value)


def function(module: ModuleType, reference: Callable[..., object], value: object) -> Patch:
    """Patch a function that one module defines or imports, for the calls of that module.

    Raises TypeError when it has no such name, and for a value that cannot be called in its place.
    """
    name = reference.__name__
    if getattr(module, name, None) is not reference:
        raise TypeError(f"{module.__name__} does not use {reference.__module__}.{name}")
    _check_call(reference, value)
    return Patch(module, name, value)


def constant(module: ModuleType, name: str, value: object) -> Patch:
    """Patch a constant of a module.  Raises AttributeError when it has none of that name."""
    getattr(module, name)
    return Patch(module, name, value)


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
        raise TypeError(
            f"the patch of {reference.__qualname__} cannot be called as the original is: {error}"
        ) from None


def _all_of(wanted: Signature) -> list[Parameter]:
    open_ended = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return [each for each in wanted.parameters.values() if each.kind not in open_ended]


def _needed_of(wanted: Signature) -> list[Parameter]:
    return [each for each in _all_of(wanted) if each.default is Parameter.empty]


@contextmanager
def patched(*patches: Patch) -> Iterator[None]:
    """Inside this block each target has the value of its patch."""
    former = [(patch.owner, patch.name, getattr_static(patch.owner, patch.name)) for patch in patches]
    for patch in patches:
        setattr(patch.owner, patch.name, patch.value)
    try:
        yield
    finally:
        for owner, name, value in former:
            setattr(owner, name, value)
