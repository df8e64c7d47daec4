"""The sources of a job as a caller has sent them: files by their path, and zip files that hold such.

Pure.  Nothing of them is trusted: they are looked at in the process that imports them.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator, Mapping
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.bundle import MAX_FILES, UNREADABLE_ZIP

__all__ = ["MOST_SOURCE_BYTES", "plain_sources"]

MOST_SOURCE_BYTES: Final = 8 << 20
"""The most bytes of all sources of a job, packed and unpacked."""
_PACKED: Final = ".zip"
_LONGEST_NAME: Final = 255  # bytes, of file systems


def plain_sources(sent: Mapping[str, bytes]) -> dict[str, bytes]:
    """The sources by path, with those of zip files in their place.

    Raises InvalidArgument for a path that leads elsewhere, one that comes twice, a zip file that is none, and
    above 2,000 files or 8 MiB.
    """
    found: dict[str, bytes] = {}
    size = 0
    for path, content in _each(sent):
        size += len(content)
        if size > MOST_SOURCE_BYTES:
            raise InvalidArgument(f"the sources have more than {MOST_SOURCE_BYTES} bytes unpacked")
        if path in found:
            raise InvalidArgument(f"the sources have {path[:100]!r} twice")
        if len(found) == MAX_FILES:
            raise InvalidArgument(f"the sources are more than {MAX_FILES} files")
        found[_checked(path)] = content
    for path in found:
        if (parent := next((each for each in _parents(path) if each in found), None)) is not None:
            raise InvalidArgument(f"the sources have {parent[:100]!r} as a file and as a folder")
    if "__init__.py" in found:
        raise InvalidArgument(
            "the sources have __init__.py at the top",
            hint="send the folder of the package, not what is in it",
        )
    return found


def _each(sent: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for path, content in sent.items():
        if path.endswith(_PACKED):
            yield from _unpacked(path, content)
        else:
            yield path, content


def _unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                with archive.open(entry) as packed:  # what its head says of its size need not be so
                    yield entry.filename, packed.read(MOST_SOURCE_BYTES + 1)
    except UNREADABLE_ZIP as error:
        raise InvalidArgument(f"{name[:100]!r} is not a zip file that can be read: {error}") from error


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _checked(path: str) -> str:
    is_plain = path == posixpath.normpath(path) and not path.startswith(("/", "..")) and path != "."
    if not is_plain or "\\" in path or "\0" in path or len(path) > 1024 or _has_a_long_name(path):
        raise InvalidArgument(f"the path {path[:100]!r} of a source is not a plain one, as pkg/job.py")
    return path


def _has_a_long_name(path: str) -> bool:
    names = path.encode("utf-8", "surrogateescape").split(b"/")
    return any(len(name) > _LONGEST_NAME for name in names)
