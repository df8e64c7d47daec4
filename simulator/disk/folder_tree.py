"""A crash-lossy disk whose folders can be renamed: the shared file system of a simulated cluster.

Each folder is a number; a name in a folder leads to a file, or to a pointer that holds another folder's
number.  All of it lies as plain files on a LossyDisk, so that a power cut loses unsynced names and bytes by
the same models as anywhere: a renamed folder is one name that changed.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import ParamSpec, TypeVar

from ringmill.cluster.ports import AppendFile, FileLock, FileSystem, ReadFile
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel

__all__ = ["FolderTree"]

P = ParamSpec("P")
T = TypeVar("T")


class FolderTree:
    """A FileSystem of absolute paths.  `on_change` hears each path whose name or subtree has changed.

    `before_change` is asked by the nodes' doors ahead of each change, and may raise OSError.
    """

    def __init__(self, on_change: Callable[[str], None] = lambda path: None) -> None:
        self.on_change = on_change
        self.before_change: Callable[[str], None] = lambda path: None
        self._disk = LossyDisk()
        self._folders = 1
        self._disk.mkdir("0")

    def cut_power(self, model: CrashModel, random: Random) -> None:
        """Lose what `model` says of the unsynced; files that were open answer nothing any more."""
        self._disk = self._disk.cut_power(model, random)
        self.on_change("/")

    def create(self, path: str) -> AppendFile:
        file = self._disk.create(self._file(path))
        self.on_change(path)
        return file

    def open_append(self, path: str) -> AppendFile:
        return self._disk.open_append(self._file(path))

    def open_read(self, path: str) -> ReadFile:
        return self._disk.open_read(self._file(path))

    def open_below(self, folder: str, path: str) -> ReadFile:
        return self.open_read(path)

    def read_bytes(self, path: str) -> bytes:
        return self._disk.read_bytes(self._file(path))

    def mkdir(self, path: str) -> None:
        folder = "0"
        for name in _parts(path):
            inner = self._pointed(folder, name)
            folder = self._new_folder(folder, name) if inner is None else inner
        self.on_change(path)

    def make_folder(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if self._pointed(folder, name) is not None or self.exists(path):
            raise FileExistsError(errno.EEXIST, "File exists", path)
        self._new_folder(folder, name)
        self.on_change(path)

    def fsync_dir(self, path: str) -> None:
        self._disk.fsync_dir(self._folder(path))

    def truncate(self, path: str, size: int) -> None:
        self._disk.truncate(self._file(path), size)

    def rewrite(self, path: str) -> None:
        self._disk.rewrite(self._file(path))

    def rename(self, source: str, target: str) -> None:
        if not self.is_dir(source):
            self._disk.rename(self._file(source), self._file(target))
        else:
            if self.is_dir(target) and self.list(target):
                raise OSError(errno.ENOTEMPTY, "Directory not empty", target)
            self._disk.rename(self._pointer(source), self._pointer(target))
        self.on_change(source)
        self.on_change(target)

    def link(self, source: str, target: str) -> None:
        self._disk.link(self._file(source), self._file(target))
        self.on_change(target)

    def unlink(self, path: str) -> None:
        self._disk.unlink(self._file(path))
        self.on_change(path)

    def remove_tree(self, path: str) -> None:
        if not self.is_dir(path):
            return
        for name in self.list(path):
            inner = f"{path}/{name}"
            if self.is_dir(inner):
                self.remove_tree(inner)
            else:
                self._disk.unlink(self._file(inner))
        self._disk.unlink(self._pointer(path))
        self.on_change(path)

    def list(self, path: str) -> list[str]:
        return sorted(name[1:] for name in self._disk.list(self._folder(path)))

    def exists(self, path: str) -> bool:
        return self.is_dir(path) or self._is_file(path)

    def is_dir(self, path: str) -> bool:
        return self._found(path) is not None

    def is_file(self, path: str) -> bool:
        return self._is_file(path)

    def is_link(self, path: str) -> bool:
        return False

    def size(self, path: str) -> int:
        return self._disk.size(self._file(path))

    def mtime_ns(self, path: str) -> int:
        return self._disk.mtime_ns(self._file(path))

    def lock(self, path: str) -> FileLock:
        return self._disk.lock(path)

    def free_space(self, path: str) -> int:
        return self._disk.free_space(path)

    def free_files(self, path: str) -> int:
        return self._disk.free_files(path)

    def paced(self, bytes_per_s: float) -> FileSystem:
        return self

    def apart(self) -> FileSystem:
        return self

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._disk.off_loop(call, *args, **kwargs)

    def _new_folder(self, folder: str, name: str) -> str:
        number = str(self._folders)
        self._folders += 1
        self._disk.mkdir(number)
        pointer = self._disk.create(f"{folder}/>{name}")
        pointer.append(number.encode())
        pointer.sync()
        return number

    def _pointed(self, folder: str, name: str) -> str | None:
        pointer = f"{folder}/>{name}"
        return self._disk.read_bytes(pointer).decode() if self._disk.exists(pointer) else None

    def _found(self, path: str) -> str | None:
        folder: str | None = "0"
        for name in _parts(path):
            folder = None if folder is None else self._pointed(folder, name)
        return folder

    def _folder(self, path: str) -> str:
        found = self._found(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "No such folder", path)
        return found

    def _is_file(self, path: str) -> bool:
        parent, _, name = path.rpartition("/")
        found = self._found(parent)
        return found is not None and self._disk.exists(f"{found}/-{name}")

    def _file(self, path: str) -> str:
        parent, _, name = path.rpartition("/")
        return f"{self._folder(parent)}/-{name}"

    def _pointer(self, path: str) -> str:
        parent, _, name = path.rpartition("/")
        return f"{self._folder(parent)}/>{name}"


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _keeps_the_contract(files: FolderTree) -> FileSystem:
    """Checked by mypy alone: the tree is a FileSystem."""
    return files
