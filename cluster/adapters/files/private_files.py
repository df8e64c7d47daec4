"""Keeps a user's files private: strict modes whatever the umask, and checks of owners.

Folders of values, tokens and logs are readable only by their owner, and are never created through a symbolic
link that another user left.  A file that another user owns or may write is not trusted.  This file checks
only owner and mode; the caller decides what follows.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Final

__all__ = [
    "FILE_MODE",
    "claim_folder",
    "distrust",
    "draft_of",
    "make_private_folder",
    "open_private",
    "replace_private",
    "tighten",
]

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def make_private_folder(path: str) -> None:
    """Create a folder and its missing parents with mode 0700.  An existing folder is not changed."""
    try:
        os.mkdir(path, FOLDER_MODE)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        parent = os.path.dirname(path.rstrip("/"))
        if not parent or os.path.isdir(parent):  # as in /proc, where nothing can be made
            raise
        make_private_folder(parent)
        make_private_folder(path)


def claim_folder(path: str, *, is_roots_too: bool = True) -> None:
    """Set an existing folder to mode 0700.  Raises PermissionError when another user owns it.

    `is_roots_too`: root may use everybody's.  Else it may not: who owns a folder can lead what is written
    below it elsewhere, and finds files there afterwards that are not its own.
    """
    if not os.path.isdir(path):
        return
    owner, user = os.stat(path).st_uid, os.geteuid()
    if user != owner and (user != 0 or not is_roots_too):
        raise PermissionError(errno.EPERM, f"belongs to uid {owner}, and this process is uid {user}", path)
    tighten(path)


def open_private(path: str, flags: int) -> int:
    """Open a file of ours, made for its owner alone when it is new; a descriptor.

    Raises OSError with ELOOP where the path is a symbolic link.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a symbolic link, and none is followed here", path) from None
        raise
    if flags & os.O_CREAT and os.fstat(descriptor).st_mode & 0o077:
        try:
            os.fchmod(descriptor, FILE_MODE)
        except PermissionError:
            os.close(descriptor)
            raise
    return descriptor


def replace_private(path: str, data: bytes, *, is_synced: bool = False) -> None:
    """Write a file of ours in the place of the former one, in one step, as `open_private` makes it.

    With `is_synced` it is there after a loss of power.  Raises OSError.
    """
    draft = draft_of(path)
    with os.fdopen(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        try:
            file.write(data)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:  # it may hold a secret
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
    if is_synced:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def draft_of(path: str) -> str:
    """Where `replace_private` writes at first; one that was killed leaves it."""
    return f"{path}.new"


def tighten(folder: str) -> bool:
    """Take a folder's rights away from everybody but its owner; whether there were any.

    Raises PermissionError when it is not ours.
    """
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    if not mode & 0o077:
        return False
    os.chmod(folder, mode & 0o700)
    return True


def distrust(path: str, *, follow: bool = False) -> str:
    """Why a file or folder is not to be trusted; "" when it is this user's own, or root's, and nobody else
    may write it.

    A link is judged itself unless `follow`.  Raises FileNotFoundError.
    """
    info = os.stat(path) if follow else os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return f"{path} is a symbolic link"
    if info.st_uid not in {os.geteuid(), 0}:
        return f"{path} belongs to uid {info.st_uid}, you are uid {os.geteuid()}"
    if info.st_mode & 0o002:
        return f"{path} can be written by every user (mode {stat.S_IMODE(info.st_mode):04o})"
    if info.st_mode & 0o020 and info.st_gid != os.getegid():
        return f"{path} can be written by group {info.st_gid} (mode {stat.S_IMODE(info.st_mode):04o})"
    return ""
