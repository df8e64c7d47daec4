"""The names of files in an engine's folder.

One counter numbers all files and never gives a number twice, so a number alone identifies a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = [
    "CURRENT",
    "LOCK",
    "QUARANTINE",
    "FileName",
    "FilePart",
    "current_temporary",
    "log_name",
    "manifest_name",
    "parse_name",
    "table_name",
    "temporary_name",
]

CURRENT: Final = "CURRENT"
LOCK: Final = "LOCK"
QUARANTINE: Final = "quarantine"
_MANIFEST: Final = "MANIFEST-"


class FileName(NamedTuple):
    kind: str  # "log", "table", "manifest", "temporary"
    file_id: int


def log_name(file_id: int) -> str:
    return f"{file_id:08d}.log"


def table_name(file_id: int) -> str:
    return f"{file_id:08d}.sst"


def temporary_name(file_id: int) -> str:
    """The name under which a child writes table `file_id` before the parent installs it."""
    return f"{file_id:08d}.tmp"


def manifest_name(file_id: int) -> str:
    return f"{_MANIFEST}{file_id:08d}"


def current_temporary(file_id: int) -> str:
    return f"{CURRENT}-{file_id:08d}.tmp"


def parse_name(name: str) -> FileName | None:
    """The meaning of a name in the folder; None for a file that is not the engine's."""
    if name.startswith(_MANIFEST):
        return _numbered("manifest", name.removeprefix(_MANIFEST))
    stem, dot, suffix = name.rpartition(".")
    kind = {"log": "log", "sst": "table", "tmp": "temporary"}.get(suffix)
    if not dot or kind is None:
        return None
    return _numbered(kind, stem.removeprefix(f"{CURRENT}-"))


def _numbered(kind: str, digits: str) -> FileName | None:
    return FileName(kind, int(digits)) if digits.isascii() and digits.isdigit() else None


@dataclass(frozen=True, slots=True)
class FilePart:
    """The first `size` bytes of a file, or all of it."""

    name: FileName
    size: int | None = None
