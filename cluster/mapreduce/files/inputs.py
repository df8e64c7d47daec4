"""Finds the files of an input: a file, a folder with all below it, or a glob; sorted, each once.

I/O only through the FileSystem passed in.  A glob matches what a shell would match, so it finds names with a
leading dot only if the pattern has one, too.  In a folder, names that begin with a dot or an underscore are
skipped, because other engines store their own files under such names beside the data.  _SUCCESS is read if it
is named.  Skipped files are reported by name, but for the _SUCCESS of a folder that is an input.

A link to a folder is followed where the input names it, by its name or as a shell's `*` does, and skipped
where it is come upon in a folder or under `**`: it may lead to what the input has already, or to itself.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Final, NamedTuple

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.file_urls import input_of
from ringmill.cluster.mapreduce.files.splits import InputFile
from ringmill.cluster.mapreduce.outputs import SUCCESS
from ringmill.cluster.ports import FileSystem

__all__ = ["FoundInputs", "SourcePaths", "find_inputs", "folder_of_pattern", "named_inputs"]

_MAGIC: Final = re.compile(r"[*?\[]")


class SourcePaths(NamedTuple):
    """Paths that are read in one format."""

    source: str
    format: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """Files by sorted path, and the paths that the input covers and that are not read, sorted."""

    files: tuple[InputFile, ...]
    passed_over: tuple[str, ...]


def named_inputs(input: str | PathLike[str] | Iterable[object]) -> tuple[str, ...]:
    """The paths of one input or several, as a user gives them.  Raises InvalidArgument for what is no path.

    An empty name would stand for the current folder with all below it.
    """
    inputs = (input,) if isinstance(input, str | PathLike) else tuple(input)
    paths = []
    for given in inputs:
        each = fspath(given) if isinstance(given, PathLike) else given
        if not isinstance(each, str) or not each:
            raise InvalidArgument(
                f"input {each!r} is no path",
                hint="give a file, a folder or a glob; '.' is the current folder",
            )
        paths.append(input_of("input", each))
    return tuple(paths)


def find_inputs(inputs: Iterable[str], files: FileSystem) -> FoundInputs:
    """Every input file once, with its size and modification time.

    `*` and `?` match within a name, `**` any number of folders.  A folder that is named may be without files
    where its _SUCCESS says that its job had nothing to write.  Raises InvalidArgument for any other input
    that names no file, and for one that names no regular file, OSError for a file that cannot be looked at.
    """
    found: dict[str, InputFile] = {}
    search = _Search(files)
    for each in inputs:
        paths = list(search.paths(each))
        if not paths and not search.met_empty_output():
            raise InvalidArgument(
                f"input {each!r} names no file",
                hint="check the path; it may be a folder or a glob, and an output may have lost its parts",
            )
        for path in paths:
            if path not in found:
                found[path] = InputFile(path, files.size(path), files.mtime_ns(path))
    passed_over = sorted(search.passed_over - found.keys())
    return FoundInputs(tuple(found[path] for path in sorted(found)), tuple(passed_over))


def folder_of_pattern(pattern: str) -> str | None:
    """The folder in which a glob begins, "." for the current one; None for a path without wildcards."""
    before = pattern.split("/")
    first = next((index for index, part in enumerate(before) if _MAGIC.search(part)), None)
    if first is None:
        return None
    return "/".join(before[:first]) or ("/" if pattern.startswith("/") else ".")


class _Search:
    """Walks folders and globs, and keeps in mind what it passes over."""

    def __init__(self, files: FileSystem) -> None:
        self.passed_over: set[str] = set()
        self._named: list[str] = []  # the folders that the last pattern names
        self._files = files

    def paths(self, pattern: str) -> Iterator[str]:
        files = self._files
        self._named.clear()
        if not _MAGIC.search(pattern) or files.exists(pattern):
            if files.is_dir(pattern):
                yield from self._all_of(pattern.rstrip("/") or "/")
            elif files.is_file(pattern):
                yield pattern
            elif files.exists(pattern):
                raise InvalidArgument(
                    f"input {pattern!r} is no regular file",
                    hint="a pipe or a device cannot be cut into splits: write it to a file first",
                )
            return
        folder = folder_of_pattern(pattern) or "."
        if files.is_dir(folder):
            parts = pattern.split("/")
            first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
            for path in self._matching(folder, parts[first:]):
                yield from self._all_of(path) if files.is_dir(path) else self._regular(path)

    def met_empty_output(self) -> bool:
        """Whether the last pattern names the output of a job, and each one that it names never had a part."""
        successes = [posixpath.join(each, SUCCESS) for each in self._named]
        there = [each for each in successes if self._files.is_file(each)]
        return bool(there) and all(_is_of_nothing(self._files.read_bytes(each)) for each in there)

    def _all_of(self, folder: str) -> Iterator[str]:
        self._named.append(folder)
        yield from self._below(folder)

    def _matching(self, folder: str, parts: list[str], *, is_deep: bool = False) -> Iterator[str]:
        """What matches below a folder; `is_deep` behind a `**`."""
        part, rest = parts[0], parts[1:]
        if part == "**":
            yield from self._matching(folder, rest or ["*"], is_deep=True)
        wanted, follows = _names(part), not (_MAGIC.search(part) and (is_deep or part == "**"))
        for name in self._files.list(folder):
            if not wanted.fullmatch(name):
                continue
            path = posixpath.join(folder, name)
            is_hidden = name.startswith(".") and not part.startswith(".")
            is_unnamed = is_hidden or (name == SUCCESS and part != SUCCESS)
            if is_unnamed or (not follows and self._is_linked_folder(path)):
                self.passed_over.add(path)
            elif part == "**":
                if self._files.is_dir(path):
                    yield from self._matching(path, parts)
            elif not rest:
                yield path
            elif self._files.is_dir(path):
                yield from self._matching(path, rest, is_deep=is_deep)

    def _below(self, folder: str) -> Iterator[str]:
        for name in self._files.list(folder):
            path = posixpath.join(folder, name)
            if name == SUCCESS:  # of a job's output: nobody takes it for data
                continue
            if name.startswith((".", "_")) or self._is_linked_folder(path):
                self.passed_over.add(path)
            elif self._files.is_dir(path):
                yield from self._below(path)
            else:
                yield from self._regular(path)

    def _is_linked_folder(self, path: str) -> bool:
        return self._files.is_link(path) and self._files.is_dir(path)

    def _regular(self, path: str) -> Iterator[str]:
        """The path of a regular file; a pipe, a socket or a dead link in a folder is passed over."""
        if self._files.is_file(path):
            yield path
        else:
            self.passed_over.add(path)


def _is_of_nothing(success: bytes) -> bool:
    """Whether an output with this _SUCCESS never had a part.  That of another engine is empty, and names
    none."""
    if not success.strip():
        return True
    try:
        told = json.loads(success)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("parts") == []


def _names(glob: str) -> re.Pattern[str]:
    """What the names are like that a part of a pattern stands for.  Raises InvalidArgument."""
    try:
        return re.compile(r"[^/]*" if glob == "**" else _name_pattern(glob), re.DOTALL)
    except re.error as error:
        raise InvalidArgument(f"{glob!r} in an input is no glob: {error.msg}") from error


def _name_pattern(glob: str) -> str:
    """A glob of one name as a regular expression: * ? [abc] [a-z] [!a]."""
    pieces = re.split(r"(\*|\?|\[!?\]?[^\]]*\])", glob)
    return "".join(map(_one_piece, pieces))


def _one_piece(piece: str) -> str:
    if piece == "*":
        return ".*"
    if piece == "?":
        return "."
    if piece.startswith("[") and piece.endswith("]") and len(piece) > 2:
        inner = piece[1:-1].replace("\\", r"\\")
        return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(piece)
