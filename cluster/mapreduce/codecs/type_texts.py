"""Tells whether two texts stand for one type: what a block of typed records says, and what a reader declares.

Pure.  One type is written in several ways (`Optional[int]`, `int | None`), and each version of Python has its
own for what it prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NewType, get_args

from ringmill.cluster.mapreduce.codecs.signatures import Hint, name_of

__all__ = ["has_new_type", "is_one_type", "new_types_of"]

_PLAIN: Final = {"List": "list", "Dict": "dict", "Tuple": "tuple", "NoneType": "None"}


def is_one_type(text: str, other: str, new_types: Mapping[str, str] | None = None) -> bool:
    """Whether both are one type; `new_types` are NewTypes by name, of any module, with what they wrap."""
    if text == other:
        return True
    names = tuple(sorted((new_types or {}).items()))
    return _canonical(text, names) == _canonical(other, names)


def has_new_type(hint: Hint) -> bool:
    """Whether there is a NewType in it."""
    return bool(new_types_of(hint))


def new_types_of(hint: Hint) -> dict[str, str]:
    """The NewTypes in a type, but for those of fields, by name, each with the text of what it wraps."""
    found: dict[str, str] = {}
    waiting = [hint]
    while waiting:
        each = waiting.pop()
        if isinstance(each, NewType):
            wrapped: Hint = each.__supertype__
            found[each.__name__] = name_of(wrapped)
            waiting.append(wrapped)
        waiting.extend(get_args(each))
    return found


@lru_cache(maxsize=256)
def _canonical(text: str, new_types: tuple[tuple[str, str], ...]) -> str:
    """Unions as `a | b | None` in one order, the builtin names, NewTypes as what they wrap."""
    options: set[str] = set()
    for option in _split(text, " | "):
        name, opening, inside = _opened(option)
        parts = [_canonical(each, new_types) for each in _split(inside, ", ")]
        if opening == "[" and name in ("Optional", "Union"):
            options.update(each for part in parts for each in _split(part, " | "))
            options.update(["None"] if name == "Optional" else [])
        elif opening == "[":
            options.add(f"{_PLAIN.get(name, name)}[{', '.join(parts)}]")
        elif opening == "(":
            fields = (each.partition(": ") for each in _split(inside, ", "))
            told = [f"{field}: {_canonical(hint, new_types)}" for field, _, hint in fields]
            options.add(f"{name}({', '.join(told)})")
        else:
            wrapped = dict(new_types).get(name.rpartition(".")[2])
            options.update(
                _split(_canonical(wrapped, new_types), " | ") if wrapped else [_PLAIN.get(name, name)]
            )
    return " | ".join(sorted(options, key=lambda each: (each == "None", each)))


def _opened(option: str) -> tuple[str, str, str]:
    """Name, opening bracket and what is between the brackets: of `list[int]`, `Row(x: int)` or `int`."""
    at = min((option.find(each) for each in "[(" if each in option), default=-1)
    return (option, "", "") if at < 0 else (option[:at], option[at], option[at + 1 : -1])


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that are in no brackets."""
    return [each for each in _parts(text, separator) if each]


def _parts(text: str, separator: str) -> Iterator[str]:
    depth = start = at = 0
    while at < len(text):
        depth += (text[at] in "[(") - (text[at] in "])")
        if depth == 0 and text.startswith(separator, at):
            yield text[start:at]
            at = start = at + len(separator)
        else:
            at += 1
    yield text[start:]
