"""A FileSystem door in front of others: chooses one by the path, sees each change."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ringmill.cluster.ports import AppendFile, Buffer, FileLock, FileSystem, ReadFile

__all__ = ["Door"]

P = ParamSpec("P")
T = TypeVar("T")


class Door:
    """`before(path)` runs ahead of each change and of each file that is opened; it may raise."""

    def __init__(self, choose: Callable[[str], FileSystem], before: Callable[[str], None]) -> None:
        self._choose = choose
        self._before = before

    def _at(self, path: str) -> FileSystem:
        self._before(path)
        return self._choose(path)

    def create(self, path: str) -> AppendFile:
        return _DoorFile(self._at(path).create(path), path, self._before)

    def open_append(self, path: str) -> AppendFile:
        return _DoorFile(self._at(path).open_append(path), path, self._before)

    def open_read(self, path: str) -> ReadFile:
        return self._choose(path).open_read(path)

    def open_below(self, folder: str, path: str) -> ReadFile:
        return self._choose(path).open_below(folder, path)

    def read_bytes(self, path: str) -> bytes:
        return self._choose(path).read_bytes(path)

    def mkdir(self, path: str) -> None:
        self._at(path).mkdir(path)

    def make_folder(self, path: str) -> None:
        self._at(path).make_folder(path)

    def fsync_dir(self, path: str) -> None:
        self._at(path).fsync_dir(path)

    def truncate(self, path: str, size: int) -> None:
        self._at(path).truncate(path, size)

    def rewrite(self, path: str) -> None:
        self._at(path).rewrite(path)

    def rename(self, source: str, target: str) -> None:
        self._at(target).rename(source, target)

    def link(self, source: str, target: str) -> None:
        self._at(target).link(source, target)

    def unlink(self, path: str) -> None:
        self._at(path).unlink(path)

    def remove_tree(self, path: str) -> None:
        self._at(path).remove_tree(path)

    def list(self, path: str) -> list[str]:
        return self._choose(path).list(path)

    def exists(self, path: str) -> bool:
        return self._choose(path).exists(path)

    def is_dir(self, path: str) -> bool:
        return self._choose(path).is_dir(path)

    def is_file(self, path: str) -> bool:
        return self._choose(path).is_file(path)

    def is_link(self, path: str) -> bool:
        return self._choose(path).is_link(path)

    def size(self, path: str) -> int:
        return self._choose(path).size(path)

    def mtime_ns(self, path: str) -> int:
        return self._choose(path).mtime_ns(path)

    def lock(self, path: str) -> FileLock:
        return self._choose(path).lock(path)

    def free_space(self, path: str) -> int:
        return self._choose(path).free_space(path)

    def free_files(self, path: str) -> int:
        return self._choose(path).free_files(path)

    def paced(self, bytes_per_s: float) -> FileSystem:
        return self

    def apart(self) -> FileSystem:
        return self

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._choose("").off_loop(call, *args, **kwargs)


class _DoorFile:
    def __init__(self, inner: AppendFile, path: str, before: Callable[[str], None]) -> None:
        self._inner = inner
        self.path = path
        self._before = before

    @property
    def size(self) -> int:
        return self._inner.size

    def append(self, data: Buffer) -> None:
        self._before(self.path)
        self._inner.append(data)

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        self._before(self.path)
        await self._inner.append_and_sync(data, off_loop=off_loop)

    def sync(self) -> None:
        self._before(self.path)
        self._inner.sync()

    def close(self) -> None:
        self._inner.close()


def _keeps_the_contract(door: Door) -> FileSystem:
    """Checked by mypy alone: the door is a FileSystem."""
    return door
