"""Several inputs of one job, each with a map and a format of its own.

Pure.  All maps give keys of one type, so that equal keys meet in one group whichever input they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Union

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.formats import FileInput
from ringmill.cluster.mapreduce.api.job_keyspaces import KvInput
from ringmill.cluster.mapreduce.codecs.signatures import Hint, Signature, name_of, unwrapped
from ringmill.cluster.mapreduce.failures import shown

__all__ = [
    "Branch",
    "Source",
    "check_names",
    "check_sources",
    "named_paths",
    "side_paths",
    "with_common_types",
]

MAX_SOURCES: Final = 100
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Source:
    """One input of a job: its name, by which a submission gives its paths, its map and its format.

    `map` or `map_batch` is what `job()` takes under that name; `input` is lines unless said.
    """

    name: str
    map: Callable[..., Iterable[tuple[Any, Any]]] | None = None
    map_batch: Callable[..., Any] | None = None
    input: FileInput | KvInput | None = None

    def __post_init__(self) -> None:
        given: object = self.input
        if given is not None and not isinstance(given, FileInput | KvInput):
            of = f" of source {shown(self.name, 80)}" if self.name else ""
            raise InvalidArgument(
                f"input{of} must be a FileInput or KvInput, not {shown(given, 100)}",
                hint='for example input=FileInput("csv"); a submission names the paths',
            )


@dataclass(frozen=True, slots=True)
class Branch:
    """A source whose functions have been checked."""

    name: str
    map: Callable[..., Any]
    signature: Signature
    input: FileInput | KvInput
    is_batch: bool


def check_sources(sources: Sequence[Source]) -> None:
    """Raises InvalidArgument for names that are no names, or stand twice."""
    if not 1 <= len(sources) <= MAX_SOURCES or not all(isinstance(each, Source) for each in sources):
        raise InvalidArgument(
            f"sources are 1 to {MAX_SOURCES} Source objects, not {shown(sources, 100)}",
            hint='sources=[Source("orders", map=orders, input=FileInput("csv")), ...]',
        )
    names = [each.name for each in sources]
    check_names("source", names)
    if len(set(names)) < len(names):
        raise InvalidArgument(f"two sources have one name: {', '.join(names)}")


def check_names(what: str, names: Iterable[str]) -> None:
    """Raises InvalidArgument for a name that a command line could not give."""
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"{what} {shown(name, 80)} is no name: letters, digits, _ and -, not beginning with a digit"
            )


def with_common_types(branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """The same, with signatures that give the types of all.  Raises InvalidArgument for different keys."""
    first = branches[0].signature
    for each in branches[1:]:
        if unwrapped(each.signature.out_key) != unwrapped(first.out_key):
            raise InvalidArgument(
                f"map {first.where} gives a key of type {name_of(first.out_key)}, map "
                f"{each.signature.where} one of type {name_of(each.signature.out_key)}; "
                "all sources of a job give keys of one type"
            )
    value = _common(each.signature.out_value for each in branches)
    return tuple(
        replace(each, signature=replace(each.signature, out_key=first.out_key, out_value=value))
        for each in branches
    )


def _common(hints: Iterable[Hint]) -> Hint:
    different = list(dict.fromkeys(map(unwrapped, hints)))
    return different[0] if len(different) == 1 else Union[tuple(different)]  # noqa: UP007 - as many as there are


def named_paths(
    names: Sequence[str], input: object, declared: Mapping[str, str] | None = None
) -> dict[str, tuple[object, ...]] | None:
    """The paths of each source, from a mapping or from texts of the form NAME=PATH; None without sources.

    `declared` are those that the job itself names, which count where none is given.

    Raises InvalidArgument for a name that the job has not, and for a source without a path.
    """
    if not names:
        if isinstance(input, Mapping):
            raise InvalidArgument("the job has one input without a name", hint="give a path, or several")
        return None
    paths: dict[str, list[object]] = {name: [] for name in names}
    for name, path in _pairs(names, input):
        if name not in paths:
            raise InvalidArgument(f"the job has no source {shown(name, 80)}; it has {', '.join(names)}")
        paths[name].append(path)
    for name, path in (declared or {}).items():
        paths[name] = paths[name] or [path]
    if missing := [name for name, given in paths.items() if not given]:
        raise InvalidArgument(
            f"no input for {', '.join(missing)}; the job reads {', '.join(names)}",
            hint=f"--input {missing[0]}=PATH, or input={{{missing[0]!r}: PATH, ...}}",
        )
    return {name: tuple(given) for name, given in paths.items()}


def side_paths(declared: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    """The path of each file of side data: that of the submission, else that of the job.

    Raises InvalidArgument for a name that the job has not, and for a file without a path.
    """
    given = given or {}
    if unknown := sorted(set(given) - set(declared)):
        known = ", ".join(sorted(declared)) or "none"
        raise InvalidArgument(f"the job has no side data {', '.join(unknown)}; it has {known}")
    paths = {name: given.get(name, path) for name, path in declared.items()}
    for name, path in paths.items():
        if not isinstance(path, str) or not path:
            raise InvalidArgument(
                f"no path for the side data {name}", hint=f"--side {name}=PATH, or side={{{name!r}: PATH}}"
            )
    return paths


def _pairs(names: Sequence[str], input: object) -> Iterable[tuple[object, object]]:
    if isinstance(input, Mapping):
        for name, given in input.items():
            several = isinstance(given, Iterable) and not isinstance(given, str | bytes)
            yield from ((name, path) for path in (given if several else (given,)))
        return
    given = (input,) if isinstance(input, str) or not isinstance(input, Iterable) else input
    for text in given:
        name, equals, path = text.partition("=") if isinstance(text, str) else ("", "", "")
        if not equals or not path:
            raise InvalidArgument(
                f"input {shown(text, 200)} does not say for which source it is; the job reads "
                f"{', '.join(names)}",
                hint=f"--input {names[0]}=PATH, or input={{{names[0]!r}: PATH, ...}}",
            )
        yield name, path
