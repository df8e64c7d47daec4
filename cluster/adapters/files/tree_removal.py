"""Removes folders in which code that is not trusted may have written.

Such code can nest folders deeper than shutil.rmtree follows them, which calls itself, or keeps a descriptor
open, for each level, and take from its own user the right to a folder.  So folders are unlocked, and those
inside are moved up to the top: no level is deeper than two, and two descriptors are enough.  No link is
followed, as names count relative to open folders.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import suppress
from typing import Final

__all__ = ["remove_tree"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BY_PATH: Final = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_RIGHTS: Final = 0o700


def remove_tree(path: str) -> None:
    """Delete a folder and all in it; what is missing or deleted meanwhile by somebody else is not an error.

    Raises OSError.
    """
    try:
        os.rmdir(path)  # an empty one costs no more than this
        return
    except FileNotFoundError:
        return
    except OSError:
        pass  # it holds something, or is none
    with suppress(FileNotFoundError):
        top = _opened(path, None)
        try:
            former: list[tuple[str, bool]] = []
            while entries := _entries(top):
                if entries == former:  # a damaged folder lists what is not there
                    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
                former = entries
                for name, is_folder in entries:
                    with suppress(FileNotFoundError):
                        _remove(name, top, is_folder=is_folder)
        finally:
            os.close(top)
        os.rmdir(path)


def _remove(name: str, top: int, *, is_folder: bool) -> None:
    """A file, or a folder whose inner ones are moved to the top."""
    if not is_folder:
        os.unlink(name, dir_fd=top)
        return
    folder = _opened(name, top)
    try:
        for inner, is_inner_folder in _entries(folder):
            with suppress(FileNotFoundError):
                if is_inner_folder:
                    _raise_to(top, inner, folder)
                else:
                    os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _raise_to(top: int, inner: str, folder: int) -> None:
    """Move a folder up, or delete it where it cannot be moved."""
    with suppress(OSError):  # one that is empty may be another user's
        os.rmdir(inner, dir_fd=folder)
        return
    os.close(_opened(inner, folder))  # who moves a folder needs the right to write in it
    try:
        os.rename(inner, uuid.uuid4().hex, src_dir_fd=folder, dst_dir_fd=top)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # overlayfs moves no folder of a lower layer, which no code has nested since the image was made
        shutil.rmtree(inner, dir_fd=folder)


def _entries(folder: int) -> list[tuple[str, bool]]:
    """Each name, and whether it is that of a folder."""
    with os.scandir(folder) as entries:
        return [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]


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
