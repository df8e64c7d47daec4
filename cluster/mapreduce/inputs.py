"""Which files an input names: a file, a folder with all below it, or a glob; sorted, each once.

I/O only through the FileSystem passed in.  Names that begin with a dot or an underscore (hidden files,
_SUCCESS) are passed over unless a pattern names them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Final

from cluster.errors import InvalidArgument
from cluster.mapreduce.splits import InputFile
from cluster.ports import FileSystem

__all__ = ["list_inputs"]

_MAGIC: Final = re.compile(r"[*?\[]")
_HIDDEN: Final = (".", "_")


def list_inputs(inputs: Iterable[str], files: FileSystem) -> list[InputFile]:
    """Every input file, by sorted path, with its size and modification mark.

    `*` and `?` match within a name, `**` any number of folders.  Raises InvalidArgument for an input that
    names no file, OSError for a file that cannot be looked at.
    """
    found: dict[str, InputFile] = {}
    for each in inputs:
        paths = list(_paths(each, files))
        if not paths:
            raise InvalidArgument(
                f"input {each!r} names no file", hint="check the path; it may be a folder or a glob"
            )
        for path in paths:
            if path not in found:
                found[path] = InputFile(path, files.size(path), files.mtime_ns(path))
    return [found[path] for path in sorted(found)]


def _paths(pattern: str, files: FileSystem) -> Iterator[str]:
    if not _MAGIC.search(pattern) or files.exists(pattern):
        if files.is_dir(pattern):
            yield from _below(pattern.rstrip("/") or "/", files)
        elif files.exists(pattern):
            yield pattern
        return
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    folder = "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")
    if files.is_dir(folder):
        for path in _matching(folder, parts[first:], files):
            yield from _below(path, files) if files.is_dir(path) else (path,)


def _matching(folder: str, parts: list[str], files: FileSystem) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matching(folder, rest or ["*"], files)
    wanted = re.compile(r"[^/]*" if part == "**" else _name_pattern(part))
    for name in files.list(folder):
        if not wanted.fullmatch(name) or (name.startswith(_HIDDEN) and not part.startswith(name[0])):
            continue
        path = posixpath.join(folder, name)
        if part == "**":
            if files.is_dir(path):
                yield from _matching(path, parts, files)
        elif not rest:
            yield path
        elif files.is_dir(path):
            yield from _matching(path, rest, files)


def _below(folder: str, files: FileSystem) -> Iterator[str]:
    for name in files.list(folder):
        if name.startswith(_HIDDEN):
            continue
        path = posixpath.join(folder, name)
        if files.is_dir(path):
            yield from _below(path, files)
        else:
            yield path


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
