"""A FileSystem that loses what was not synced: the disk of tests and of the simulator.

It is in memory and behaves like a good disk until a power cut.  Then only a `Moment` of it is left, and one
of the crash models decides what survives.  Faults are injected by a hook that sees each call before it
happens and may raise.  Folders are durable as soon as they are made, unless the disk is one that forgets them
until the folder above is synced, as POSIX allows.

See: docs/testing.md, "The crash-lossy disk".
"""

from __future__ import annotations

import asyncio
import errno
import posixpath
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.ports import AppendFile, Buffer, FileLock, FileSystem, ReadFile
from ringmill.simulator.disk.moment import CrashModel, Moment, NameChange, Survivors, Write

__all__ = ["SECTOR_BYTES", "Hook", "LossyDisk"]

Hook = Callable[[str, str], None]
"""Sees (call, path) before anything changes; raise OSError for a fault of the disk."""

SECTOR_BYTES: Final = 512
_PROMISES: Final = 64  # a lying disk may have lied about this many of its last events

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class _File:
    number: int
    content: bytearray = field(default_factory=bytearray)
    synced: int = 0
    writes: list[Write] = field(default_factory=list)
    holes: list[Write] = field(default_factory=list)  # readable, but no sync brings them to the disk
    bad: set[int] = field(default_factory=set)  # numbers of sectors that cannot be read
    frozen: bytes | None = b""  # the content as bytes, while it is unchanged


class LossyDisk:
    """One machine's disk.  `capacity` in bytes makes it fill up; `hook` makes it fail."""

    def __init__(
        self, *, capacity: int | None = None, hook: Hook | None = None, forgets_folders: bool = False
    ) -> None:
        self.capacity = capacity
        self.hook = hook
        self.forgets_folders = forgets_folders
        self.calls = 0
        self.is_cut = False
        self.opened: list[str] = []
        """The path of each file that was opened and is not closed, as it was then."""
        self._folders: set[str] = {"", "/", "."}
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._durable_names: dict[str, int] = {}
        self._changes: list[NameChange] = []
        self._promises: list[NameChange | tuple[int, Write]] = []
        self._made: dict[str, int] = {}  # folders whose own names are not durable, and the event before each
        self._locks: set[str] = set()
        self._order = 0

    @classmethod
    def after(cls, survivors: Survivors) -> LossyDisk:
        """A disk that starts with what a power cut left, all of it durable."""
        disk = cls()
        disk._folders |= survivors.folders
        numbers: dict[int, int] = {}
        for name, body in sorted(survivors.files.items()):
            link = survivors.links[name]
            if link not in numbers:
                numbers[link] = disk._new_file().number
                file = disk._files[numbers[link]]
                file.content[:] = body
                file.synced, file.frozen = len(body), bytes(body)
            disk._names[name] = disk._durable_names[name] = numbers[link]
            disk._folders.add(name.rpartition("/")[0])
        return disk

    def moment(self) -> Moment:
        """Everything a crash right now would start from."""
        for file in self._files.values():
            if file.frozen is None:
                file.frozen = bytes(file.content)
        return Moment(
            folders=frozenset(self._folders),
            names=dict(self._durable_names),
            changes=tuple(self._changes),
            contents={number: file.frozen or b"" for number, file in self._files.items()},
            synced={number: file.synced for number, file in self._files.items()},
            writes={number: tuple(file.writes) for number, file in self._files.items() if file.writes},
            holes={number: tuple(file.holes) for number, file in self._files.items() if file.holes},
            promises=tuple(self._promises),
            made=tuple((order + 1, folder) for folder, order in self._made.items()),
        )

    def cut_power(self, model: CrashModel, random: Random) -> LossyDisk:
        """The disk found after a power cut now; this one answers nothing any more."""
        self.is_cut = True
        survivors = self.moment().crash(model, random)
        found = LossyDisk.after(survivors)
        found.capacity = self.capacity  # a full disk is full when the power is back
        found.forgets_folders = self.forgets_folders
        for name, number in survivors.links.items():
            found._file(name).bad |= self._files[number].bad
        return found

    def after_kill(self) -> LossyDisk:
        """A copy as it is found when the process dies now and the power does not: all but the locks."""
        found = deepcopy(self)
        found.hook = None
        found._locks.clear()
        found.opened.clear()
        return found

    def flip(self, path: str, offset: int, mask: int) -> None:
        """Turn the bits of `mask` in one byte: bit rot, which no call notices."""
        file = self._file(path)
        file.content[offset] ^= mask
        file.frozen = None

    def spoil(self, path: str, offset: int) -> None:
        """Let the sector at an offset be unreadable from now on, also after a power cut."""
        self._file(path).bad.add(offset // SECTOR_BYTES)

    def mend(self) -> None:
        """Let all sectors be readable: the errors have passed."""
        for file in self._files.values():
            file.bad.clear()

    @property
    def used(self) -> int:
        return sum(len(self._files[number].content) for number in sorted(set(self._names.values())))

    def create(self, path: str) -> AppendFile:
        self._enter("create", path)
        if path in self._names:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        self._need_folder(path)
        file = self._new_file()
        self._change_names(path, ((path, file.number),))
        return _LossyAppendFile(self, path, file)

    def open_append(self, path: str) -> AppendFile:
        self._enter("open_append", path)
        return _LossyAppendFile(self, path, self._file(path))

    def open_read(self, path: str) -> ReadFile:
        self._enter("open_read", path)
        return _LossyReadFile(self, path, self._file(path))

    def open_below(self, folder: str, path: str) -> ReadFile:
        return self.open_read(path)

    def read_bytes(self, path: str) -> bytes:
        self._enter("read", path)
        file = self._file(path)
        _check_sectors(path, file, 0, len(file.content))
        return bytes(file.content)

    def mkdir(self, path: str) -> None:
        self._enter("mkdir", path)
        parts = path.split("/")
        for folder in ("/".join(parts[: end + 1]) for end in range(len(parts))):
            if self.forgets_folders and folder not in self._folders:
                self._made[folder] = self._order
            self._folders.add(folder)

    def make_folder(self, path: str) -> None:
        if path in self._names or path in self._folders:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        self._need_folder(path)
        self.mkdir(path)

    def fsync_dir(self, path: str) -> None:
        self._enter("fsync_dir", path)
        for folder in [each for each in self._made if posixpath.dirname(each) == path]:
            del self._made[folder]
        for change in [change for change in self._changes if _touches(change, path)]:
            self._changes.remove(change)
            self._promise(change)
            for name, number in change.names:
                if number is None:
                    self._durable_names.pop(name, None)
                else:
                    self._durable_names[name] = number
        self._forget_unnamed()

    def truncate(self, path: str, size: int) -> None:
        self._enter("truncate", path)
        file = self._file(path)
        del file.content[size:]
        file.content.extend(bytes(size - len(file.content)))
        file.synced, file.writes, file.frozen = size, [], None
        file.holes = [replace(hole, end=min(hole.end, size)) for hole in file.holes if hole.start < size]

    def rewrite(self, path: str) -> None:
        self._enter("rewrite", path)
        file = self._file(path)
        _check_sectors(path, file, 0, len(file.content))
        file.writes, file.holes = sorted([*file.holes, *file.writes], key=lambda write: write.order), []
        self._settle(file)

    def give_up(self, path: str) -> None:
        """A sync of the file has failed: what it should have written is lost with the page cache."""
        file = self._file(path)
        file.holes += file.writes
        file.writes = []

    def rename(self, source: str, target: str) -> None:
        self._enter("rename", target)
        if source in self._folders:
            self._rename_folder(source, target)
            return
        number = self._file(source).number
        self._need_folder(target)
        self._change_names(target, ((source, None), (target, number)))

    def _rename_folder(self, source: str, target: str) -> None:
        """All names below it change at once, as one entry of the folder that the target is in."""
        self._need_folder(target)
        names: list[tuple[str, int | None]] = []
        for name in [name for name in self._names if name.startswith(f"{source}/")]:
            names += [(name, None), (target + name.removeprefix(source), self._names[name])]
        self._change_names(target, tuple(names))
        moved = {folder for folder in self._folders if f"{folder}/".startswith(f"{source}/")}
        self._folders = (self._folders - moved) | {target + folder.removeprefix(source) for folder in moved}
        for folder in [each for each in self._made if each in moved]:
            self._made[target + folder.removeprefix(source)] = self._made.pop(folder)

    def link(self, source: str, target: str) -> None:
        self._enter("link", target)
        if target in self._names:
            raise FileExistsError(errno.EEXIST, "File exists", target)
        self._need_folder(target)
        self._change_names(target, ((target, self._file(source).number),))

    def unlink(self, path: str) -> None:
        self._enter("unlink", path)
        self._file(path)
        self._change_names(path, ((path, None),))

    def remove_tree(self, path: str) -> None:
        self._enter("remove_tree", path)
        for name in [name for name in self._names if name.startswith(f"{path}/")]:
            self._change_names(name, ((name, None),))
        self._folders -= {folder for folder in self._folders if f"{folder}/".startswith(f"{path}/")}
        self._made = {folder: order for folder, order in self._made.items() if folder in self._folders}

    def list(self, path: str) -> list[str]:
        self._enter("list", path)
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, "No such folder", path)
        inside = [*self._names, *self._folders]
        prefix = f"{path}/"
        return sorted({name.removeprefix(prefix).split("/")[0] for name in inside if name.startswith(prefix)})

    def exists(self, path: str) -> bool:
        return path in self._names or path in self._folders

    def is_dir(self, path: str) -> bool:
        return path in self._folders

    def is_file(self, path: str) -> bool:
        return path in self._names

    def is_link(self, path: str) -> bool:
        return False

    def size(self, path: str) -> int:
        return len(self._file(path).content)

    def mtime_ns(self, path: str) -> int:
        return max((write.order for write in self._file(path).writes), default=0)

    def lock(self, path: str) -> FileLock:
        if path in self._locks:
            raise BlockingIOError(errno.EWOULDBLOCK, "Locked by another process", path)
        self._locks.add(path)
        return _LossyLock(self._locks, path)

    def free_space(self, path: str) -> int:
        return (1 << 50) if self.capacity is None else max(0, self.capacity - self.used)

    def free_files(self, path: str) -> int:
        return 1 << 40

    def paced(self, bytes_per_s: float) -> FileSystem:
        return self

    def apart(self) -> FileSystem:
        return self

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0)
        return call(*args, **kwargs)

    def _append(self, path: str, file: _File, data: Buffer) -> None:
        self._enter("append", path)
        room = self.free_space(path)
        start = len(file.content)
        file.content += bytes(data)[:room]
        file.frozen = None
        self._order += 1
        if len(file.content) > start:
            file.writes.append(Write(self._order, start, len(file.content)))
        if len(data) > room:
            raise OSError(errno.ENOSPC, "No space left on device", path)

    def _sync(self, path: str, file: _File) -> None:
        self._enter("sync", path)
        self._settle(file)

    def _settle(self, file: _File) -> None:
        for write in file.writes:
            self._promise((file.number, write))
        file.synced, file.writes = len(file.content), []

    def _enter(self, call: str, path: str) -> None:
        if self.is_cut:
            raise OSError(errno.EIO, "The power is cut", path)
        self.calls += 1
        if self.hook is not None:
            self.hook(call, path)

    def _promise(self, promise: NameChange | tuple[int, Write]) -> None:
        self._promises.append(promise)
        del self._promises[:-_PROMISES]

    def _change_names(self, path: str, names: tuple[tuple[str, int | None], ...]) -> None:
        self._order += 1
        self._changes.append(NameChange(self._order, path.rpartition("/")[0], names))
        for name, number in names:
            if number is None:
                del self._names[name]
            else:
                self._names[name] = number

    def _new_file(self) -> _File:
        self._order += 1
        file = self._files[self._order] = _File(self._order)
        return file

    def _file(self, path: str) -> _File:
        number = self._names.get(path)
        if number is None:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return self._files[number]

    def _need_folder(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            raise FileNotFoundError(errno.ENOENT, "No such folder", path)

    def _forget_unnamed(self) -> None:
        """Let go of files that no name, durable or not, can reach any more."""
        reachable = {*self._names.values(), *self._durable_names.values()}
        for pending in (*self._changes, *(p for p in self._promises if isinstance(p, NameChange))):
            reachable |= {number for _, number in pending.names if number is not None}
        self._files = {number: file for number, file in self._files.items() if number in reachable}


def _check_sectors(path: str, file: _File, start: int, end: int) -> None:
    """Raises OSError when bytes [start, end) cannot be read."""
    if any(start < (sector + 1) * SECTOR_BYTES and sector * SECTOR_BYTES < end for sector in file.bad):
        raise OSError(errno.EIO, "Input/output error", path)


def _touches(change: NameChange, folder: str) -> bool:
    """Whether a sync of the folder covers a change: a rename changes both folders, and syncing either is
    enough."""
    return change.folder == folder or any(name.rpartition("/")[0] == folder for name, _ in change.names)


class _LossyOpenFile:
    def __init__(self, disk: LossyDisk, path: str, file: _File) -> None:
        self._disk = disk
        self._path = path
        self._file = file
        self._is_open = True
        disk.opened.append(path)

    @property
    def path(self) -> str:
        return self._path

    @property
    def size(self) -> int:
        return len(self._file.content)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._disk.opened.remove(self._path)


class _LossyAppendFile(_LossyOpenFile):
    def append(self, data: Buffer) -> None:
        self._disk._append(self._path, self._file, data)

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        self._disk._append(self._path, self._file, data)
        await asyncio.sleep(0)
        self._disk._sync(self._path, self._file)

    def sync(self) -> None:
        self._disk._sync(self._path, self._file)


class _LossyReadFile(_LossyOpenFile):
    def pread(self, size: int, offset: int) -> bytes:
        self._disk._enter("pread", self._path)
        _check_sectors(self._path, self._file, offset, offset + size)
        return bytes(self._file.content[offset : offset + size])

    def pread_cached(self, size: int, offset: int) -> bytes | None:
        """Every other read finds the page cache cold, so that both ways are walked."""
        return self.pread(size, offset) if self._disk.calls % 2 else None

    async def pread_off_loop(self, size: int, offset: int) -> bytes:
        await asyncio.sleep(0)
        return self.pread(size, offset)


class _LossyLock:
    def __init__(self, locks: set[str], path: str) -> None:
        self._locks = locks
        self._path = path

    def release(self) -> None:
        self._locks.discard(self._path)


def _keeps_the_contract(disk: LossyDisk) -> FileSystem:
    """Checked by mypy alone: the simulated disk is a FileSystem."""
    return disk
