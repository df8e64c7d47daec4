"""Which dataclasses may be keys and values: those that a task can make again from their fields, and of keys
those that are equal exactly when all of their fields are.

Pure.  Map tasks group keys by ==, and everything behind them by bytes, which hold all fields.  If == leaves
one out, which value of it stays would depend on where the input is cut.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from ringmill.cluster.errors import InvalidArgument

__all__ = ["check_key_class", "check_made_again"]

_MADE_BY_DATACLASS: Final = "<string>"  # where the code of a method is that dataclass() has written


def check_key_class(hint: type, where: str) -> None:
    """Raises InvalidArgument for a dataclass that cannot be a key."""
    check_made_again(hint, where)
    if hint.__hash__ is None:
        raise InvalidArgument(f"{where}: dataclass {hint.__name__} is a key, so it must be frozen=True")
    owner = next(each for each in hint.__mro__ if "__eq__" in vars(each))
    if owner is object:
        return  # finer than the bytes, which is harmless
    code: Any = getattr(vars(owner)["__eq__"], "__code__", None)
    compared: set[str] = set()
    if code is not None and code.co_filename == _MADE_BY_DATACLASS:
        compared = {field.name for field in dataclasses.fields(owner) if field.compare}
    others = [field.name for field in dataclasses.fields(hint) if field.name not in compared]
    if others:
        raise InvalidArgument(
            f"{where}: dataclass {hint.__name__} is a key, and its __eq__ does not compare "
            f"{', '.join(others)} as dataclass() would: equal keys would be written as different ones",
            hint="leave compare=False and an __eq__ of its own out, or give tuples as keys",
        )


def check_made_again(hint: type, where: str) -> None:
    """Raises InvalidArgument for a dataclass that takes some of its fields from nobody."""
    if unset := [field.name for field in dataclasses.fields(hint) if not field.init]:
        raise InvalidArgument(
            f"{where}: dataclass {hint.__name__} has {', '.join(unset)} with init=False, and a task makes it "
            "again from all of its fields",
            hint="make it a property",
        )
