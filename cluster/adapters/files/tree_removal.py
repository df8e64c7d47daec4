"""Removes folders in which code that is not trusted may have written.

Such code can nest folders deeper than shutil.rmtree follows them, which calls itself for each level, and take
from its own user the right to a folder.  Where that fails, folders are unlocked, and those inside are moved
up to the top, so that no level is deeper than two.  No link is followed, as names count relative to open
folders.
"""

from __future__ import annotations

import os
import shutil
import stat
import uuid
from contextlib import suppress
from typing import Final

__all__ = ["remove_tree"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BY_PATH: Final = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_RIGHTS: Final = 0o700


def remove_tree(path: str) -> None:
    """Delete a folder and all in it; a missing one is no error.  Raises OSError."""
    if not os.path.lexists(path):
        return
    try:
        shutil.rmtree(path)
    except (PermissionError, RecursionError):
        _remove_flat(path)


def _remove_flat(path: str) -> None:
    top = _opened(path, None)
    try:
        while names := os.listdir(top):
            for name in names:
                _remove(name, top)
    finally:
        os.close(top)
    os.rmdir(path)


def _remove(name: str, top: int) -> None:
    """A file, or a folder whose inner ones are moved to the top."""
    if not _is_folder(name, top):
        os.unlink(name, dir_fd=top)
        return
    folder = _opened(name, top)
    try:
        for inner in os.listdir(folder):
            if _is_folder(inner, folder):
                os.close(_opened(inner, folder))  # who moves a folder needs the right to write in it
                os.rename(inner, uuid.uuid4().hex, src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _opened(name: str, folder: int | None) -> int:
    """A descriptor of a folder, which this user may read and write from now on if it is its own."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:
        locked = os.open(name, _BY_PATH, dir_fd=folder)
        try:
            os.chmod(f"/proc/self/fd/{locked}", _ALL_RIGHTS)
        finally:
            os.close(locked)
        return os.open(name, _FOLDER, dir_fd=folder)
    with suppress(PermissionError):
        if os.fstat(descriptor).st_mode & _ALL_RIGHTS != _ALL_RIGHTS:
            os.fchmod(descriptor, _ALL_RIGHTS)
    return descriptor
