"""Removes folders in which code that is not trusted may have written.

Such code can nest folders deeper than shutil.rmtree follows them, which calls itself, or keeps a descriptor
open, for each level, and take from its own user the right to a folder.  So folders are unlocked, and those
inside are moved up to the top: no level is deeper than two, and two descriptors are enough.  No link is
followed, as names count relative to open folders.  Code that still runs can make entries as fast as they are
removed, so there is an end to what is removed that was made meanwhile.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
import uuid
from contextlib import suppress
from typing import Final

__all__ = ["remove_tree"]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BY_PATH: Final = getattr(os, "O_PATH", 0) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ALL_RIGHTS: Final = 0o700
_MOST_MADE: Final = 1000
"""Entries that were made while their folder was removed: what a process that is just ending may leave."""


def remove_tree(path: str) -> None:
    """Delete a folder and all in it; what is missing or deleted meanwhile by somebody else is not an error.

    Raises OSError; ENOTEMPTY when somebody goes on making entries in it.
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
            _Removal(path, top).run()
        finally:
            os.close(top)
        os.rmdir(path)


class _Removal:
    """Empties the folder `top`."""

    def __init__(self, path: str, top: int) -> None:
        self._path = path
        self._top = top
        self._began_ns = _now_ns(top)
        self._raised: set[str] = set()  # folders that were moved to the top, and are there
        self._made = 0  # entries that somebody has made since it began

    def run(self) -> None:
        former: list[tuple[str, bool]] = []
        while entries := _entries(self._top):
            if entries == former:  # a damaged folder lists what is not there
                raise self._not_empty()
            if former:
                self._note_made(sum(name not in self._raised for name, _ in entries))
            former = entries
            for name, is_folder in entries:
                with suppress(FileNotFoundError):
                    self._remove(name, is_folder=is_folder)
                self._raised.discard(name)

    def _note_made(self, count: int) -> None:
        self._made += count
        if self._made > _MOST_MADE:
            raise self._not_empty()

    def _not_empty(self) -> OSError:
        return OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), self._path)

    def _remove(self, name: str, *, is_folder: bool) -> None:
        """A file, or a folder whose inner ones are moved to the top."""
        if not is_folder:
            os.unlink(name, dir_fd=self._top)
            return
        folder = _opened(name, self._top)
        try:
            for inner, is_inner_folder in _entries(folder):
                with suppress(FileNotFoundError):
                    if is_inner_folder:
                        self._raise(inner, folder)
                    else:
                        os.unlink(inner, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=self._top)

    def _raise(self, inner: str, folder: int) -> None:
        """Move a folder up, or delete it where it cannot be moved."""
        with suppress(OSError):  # one that is empty may be another user's
            os.rmdir(inner, dir_fd=folder)
            return
        # its code can set any time but this one
        self._note_made(os.stat(inner, dir_fd=folder, follow_symlinks=False).st_ctime_ns > self._began_ns)
        os.close(_opened(inner, folder))  # who moves a folder needs the right to write in it
        raised = uuid.uuid4().hex
        try:
            os.rename(inner, raised, src_dir_fd=folder, dst_dir_fd=self._top)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # overlayfs moves no folder of a lower layer, which no code has nested since the image was made
            shutil.rmtree(inner, dir_fd=folder)
        else:
            self._raised.add(raised)


def _now_ns(folder: int) -> int:
    """By the clock that stamps what is made there: it may be another machine's, and this one's may have been
    set back since the folder was filled."""
    try:
        os.fchmod(folder, stat.S_IMODE(os.fstat(folder).st_mode))
    except PermissionError:  # another user's
        return time.time_ns()
    return os.fstat(folder).st_ctime_ns


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
