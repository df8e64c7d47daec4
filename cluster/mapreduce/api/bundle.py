"""Bundles: the sources of a job as one zip file whose bytes depend only on its content.

Pure: sources are read through a function.  Imports are found in the syntax tree; no code runs.  The zip is
uncompressed with fixed dates and sorted names, so that equal sources have an equal SHA-256 on every machine
and Python can import from the file directly.

Layout and limits: docs/formats/bundle.md.
"""

from __future__ import annotations

import ast
import io
import lzma
import posixpath
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeAlias

from ringmill.cluster.errors import CorruptData, InvalidArgument

__all__ = [
    "MAX_BUNDLE_BYTES",
    "MAX_FILES",
    "UNREADABLE_ZIP",
    "Bundle",
    "build_bundle",
    "check_bundle",
    "packed_sources",
    "trace_sources",
]

MAX_BUNDLE_BYTES: Final = 16 << 20
MAX_FILES: Final = 2000
_MAX_DIRECTORY_BYTES: Final = (MAX_FILES + 1) * 600  # each entry has 46 bytes and its name
_END: Final = struct.Struct("<4s8sI4sH")  # of a zip file: APPNOTE.TXT 6.3.10, 4.3.16
_LOCATOR_BYTES: Final = 20  # before it, in the 64-bit form
UNREADABLE_ZIP: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip
"""What opening and unpacking a zip file raises that is damaged; bz2 has no error of its own."""
MARKER: Final = "RINGMILL-BUNDLE"
VERSION: Final = 1

DISTRIBUTION: Final = "ringmill"

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)

ReadSource: TypeAlias = Callable[[str], bytes | None]
"""Content of a path relative to the job's root folder ("a/b.py"), or None when there is no such file."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A packed job: its bytes, their SHA-256, and what is in it."""

    data: bytes
    sha256: str
    module: str
    files: tuple[str, ...]


def build_bundle(module: str, read: ReadSource) -> Bundle:
    """Pack a module with all its local imports.

    Raises InvalidArgument for a module that is missing, does not parse, shadows another package, or makes a
    bundle above 16 MiB or 2000 files.
    """
    return packed_sources(module, trace_sources(module, read))


def packed_sources(module: str, sources: Mapping[str, bytes]) -> Bundle:
    """Pack what `trace_sources` has found.  Raises InvalidArgument above 16 MiB or 2000 files."""
    count = len(sources) + len(_bare_folders(sources))
    if count > MAX_FILES:
        raise InvalidArgument(f"job {module} needs {count} source files; {MAX_FILES} are allowed")
    data = _zip(sources)
    if len(data) > MAX_BUNDLE_BYTES:
        raise InvalidArgument(f"the bundle of {module} has {len(data)} bytes; {MAX_BUNDLE_BYTES} are allowed")
    return Bundle(data, sha256(data).hexdigest(), module, tuple(sorted(sources)))


def check_bundle(data: bytes, digest: str) -> None:
    """Check that bytes are the bundle with that SHA-256.

    Raises CorruptData for another digest; InvalidArgument for bytes that are not a bundle, are too large, or
    would write outside their folder when unpacked.
    """
    found = sha256(data).hexdigest()
    if found != digest:
        raise CorruptData(f"a bundle has SHA-256 {found}, {digest} was announced")
    if len(data) > MAX_BUNDLE_BYTES:
        raise InvalidArgument(f"a bundle has {len(data)} bytes; {MAX_BUNDLE_BYTES} are allowed")
    if _directory_bytes(data) > _MAX_DIRECTORY_BYTES:
        raise InvalidArgument(f"a bundle has at most {MAX_FILES} files, and this one lists more")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(archive.infolist())
            marker = archive.read(MARKER)
    except (*UNREADABLE_ZIP, KeyError) as error:
        raise InvalidArgument(f"{len(data)} bytes are no bundle: {error}") from error
    if marker != _marker():
        raise InvalidArgument(f"a bundle says {marker[:40]!r}; this side knows version {VERSION}")


def _directory_bytes(data: bytes) -> int:
    """The size of the list of files at the end of a zip file, which is read whole when it is opened.

    Raises InvalidArgument for an end as `build_bundle` makes none: with a comment, or of the 64-bit form.
    """
    end = data[-_END.size :]
    if len(end) == _END.size and data[-_END.size - _LOCATOR_BYTES :][:4] != b"PK\x06\x07":
        magic, _, size, _, comment_bytes = _END.unpack(end)
        if (magic, comment_bytes) == (b"PK\x05\x06", 0):
            return int(size)
    raise InvalidArgument(f"{len(data)} bytes are no bundle: they do not end as one")


def _check_entries(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Before any of them is read: a node opens bundles, and one that unpacks to gigabytes must not hurt it.

    Raises InvalidArgument.
    """
    stored = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES + 1 or stored > MAX_BUNDLE_BYTES:
        raise InvalidArgument(f"a bundle unpacks to {len(entries)} files and {stored} bytes")
    for entry in entries:
        name = entry.filename
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise InvalidArgument(f"a bundle holds the path {name!r}, which leaves its folder")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InvalidArgument(f"a bundle holds {name!r} compressed; bundles are not compressed")


def trace_sources(module: str, read: ReadSource) -> Mapping[str, bytes]:
    """The module's source and those of everything local that it imports, by relative path."""
    found: dict[str, bytes] = {}
    _refuse_shadow(module, _require(module, read))
    waiting = [module]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        source = _locate(name, read)
        if source is None:
            continue
        path, content = source
        found[path] = content
        waiting += _parents(name)
        waiting += _imports(name, path, content)
        _refuse_shadow(name, path)
    return found


def _require(module: str, read: ReadSource) -> str:
    source = _locate(module, read)
    if source is None:
        raise InvalidArgument(f"there is no module {module} in the job's folder")
    return source[0]


def _locate(name: str, read: ReadSource) -> tuple[str, bytes] | None:
    base = name.replace(".", "/")
    for path in (f"{base}/__init__.py", f"{base}.py"):
        content = read(path)
        if content is not None:
            return path, content
    return None


def _refuse_shadow(name: str, path: str) -> None:
    top = name.partition(".")[0]
    owner = "ringmill" if top == DISTRIBUTION else "Python" if top in sys.stdlib_module_names else ""
    if owner:
        raise InvalidArgument(
            f"{path} would take the place of {owner}'s own {top!r}",
            hint="give it another name, or put the job into a folder without it",
        )


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imports(name: str, path: str, content: bytes) -> Iterator[str]:
    """Absolute names of all imports in a source, at any level."""
    try:
        tree = ast.parse(content, path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InvalidArgument(f"{path}:{line} does not parse: {error}") from error
    package = name if posixpath.basename(path) == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(package, node)
            yield base
            for alias in node.names:
                yield f"{base}.{alias.name}"


def _absolute(package: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _marker() -> bytes:
    return f"version {VERSION}\n".encode()


def _bare_folders(sources: Mapping[str, bytes]) -> list[str]:
    """Those without an `__init__.py`, from which modules are imported all the same."""
    folders = {posixpath.dirname(path) for path in sources}
    for folder in sorted(folders):
        while folder := posixpath.dirname(folder):
            folders.add(folder)
    return sorted(each for each in folders if each and f"{each}/__init__.py" not in sources)


def _zip(sources: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in [(MARKER, _marker()), *sorted(sources.items())]:
            info = zipfile.ZipInfo(path, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
        for folder in _bare_folders(sources):  # Python's importer looks for these entries
            info = zipfile.ZipInfo(f"{folder}/", _EPOCH)
            info.create_system = 3
            info.external_attr = 0o40755 << 16
            archive.writestr(info, b"")
    return buffer.getvalue()
