"""The FileSystem door of one start of a node: its disk, which may be slow or faulty, and is shut when the
start ends.

Other files of this folder decide what survives a crash.  This file is what a process meets while it runs:
work off the loop takes virtual time, calls may fail, and after a kill no abandoned coroutine of the old start
reaches the disk.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from random import Random
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.ports import AppendFile, Buffer, FileLock, FileSystem, ReadFile
from ringmill.node.identity.identity import FILE_NAMES as IDENTITY_NAMES
from ringmill.node.identity.store_name import FILE_NAME as STORE_NAME
from ringmill.node.replica.control_copy import FILE_NAME as CONTROL_NAME
from ringmill.node.storage.names import CURRENT, FileName, parse_name
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.trace import Trace

__all__ = ["END_CHANCE", "NodeDisk", "StartAppendFile", "StartFiles"]

_DATA: Final = "/data"
_STORE: Final = f"{_DATA}/store"
_END_BYTES: Final = 64
_SPOILED_SHARE: Final = 0.3
_OWN_SPOILED_CHANCE: Final = 0.5
END_CHANCE: Final = 0.25
P = ParamSpec("P")
T = TypeVar("T")


class ReusedNumber(Exception):
    """A number names one file for all times (docs/formats/manifest.md)."""


class NodeDisk:
    """What of a node outlives its starts.  Times in seconds; `error_chance` of each write and sync."""

    def __init__(self, name: str, draws: Random, trace: Trace, *, latency_s: float) -> None:
        self.name = name
        self.lossy = LossyDisk(forgets_folders=True)
        self.latency_s = latency_s
        self.slower_s = 0.0
        self.error_chance = 0.0
        self.was_faulty = False  # a write of the present start has failed
        self.is_rotten = False  # some synced bits have turned
        self.has_lied = False  # some bits that were called synced never were
        self.is_old_copy = False  # its content was put back, or copied from another disk
        self.reused: list[BaseException] = []
        self._numbers: dict[int, FileName] = {}
        self._draws = draws
        self._trace = trace

    def cut_power(self, model: CrashModel) -> None:
        """Lose what `model` says of the unsynced."""
        self.has_lied = self.has_lied or model is CrashModel.LYING
        self.lossy = self.lossy.cut_power(model, self._draws)

    def replace(self) -> None:
        """The machine gets an empty disk."""
        self.lossy = LossyDisk(forgets_folders=True)
        self.is_rotten = False
        self._numbers.clear()

    def put_back(self, kept: LossyDisk) -> None:
        """Somebody replaces the disk's content by an older copy of it."""
        self.lossy = kept
        self.is_old_copy = True
        self._numbers.clear()

    def note_new(self, path: str) -> None:
        """A file is made: no number of the store is ever given to a second one.

        But for the manifest of a start that left nothing else behind.
        """
        parsed = self._numbered(path)
        if parsed is None or self.has_lied:
            return
        former = self._numbers.setdefault(parsed.file_id, parsed)
        if former is not parsed and not former.kind == parsed.kind == "manifest":
            self.reused.append(ReusedNumber(f"{self.name} makes {path}, a {former.kind} had its number"))

    def note_gone(self, path: str) -> None:
        """A start has deleted a file of its own, and no manifest in force can name its number."""
        parsed = self._numbered(path)
        if parsed is not None:
            self._numbers.pop(parsed.file_id, None)

    def _numbered(self, path: str) -> FileName | None:
        folder, _, name = path.rpartition("/")
        return None if folder != _STORE or name.startswith(CURRENT) else parse_name(name)

    def rot(self, *, end_chance: float = 0.0) -> int:
        """Flip one bit in every table that has any; how many there were."""
        names = self.lossy.list(_STORE) if self.lossy.is_dir(_STORE) else []
        self.is_rotten = True
        tables = [f"{_STORE}/{name}" for name in names if name.endswith(".sst")]
        tables = [
            path for path in tables if self.lossy.size(path)
        ]  # a disk that lied may have kept names only
        for path in tables:
            self._flip(path, end_chance)
        return len(tables)

    def _flip(self, path: str, end_chance: float) -> None:
        """One bit; now and then one at the end of the file, where tables have what they are opened by."""
        size = self.lossy.size(path)
        first = max(0, size - _END_BYTES) if end_chance and self._draws.random() < end_chance else 0
        self.lossy.flip(path, self._draws.randrange(first, size), 1 << self._draws.randrange(8))

    def spoil(self, *, tables_only: bool) -> int:
        """Let a sector of some of the engine's files be unreadable, and of one of the node's own; how many.

        One of the two files of the identity stays sound, and so does one copy of the control state: where
        `CONTROL` is the own file, or is not there yet, the engine's files are spared.
        """
        own = [] if tables_only or self.is_rotten else self._draw_own()
        self.is_rotten = True
        names = self.lossy.list(_STORE) if self.lossy.is_dir(_STORE) else []
        names = [name for name in names if name == CURRENT or parse_name(name) is not None]
        paths = [f"{_STORE}/{name}" for name in names if name.endswith(".sst") or not tables_only]
        paths = [path for path in paths if self.lossy.is_file(path) and self.lossy.size(path)]
        paths = [path for path in paths if self._draws.random() < _SPOILED_SHARE]
        second = f"{_DATA}/{CONTROL_NAME}"
        paths = own if own == [second] or not self.lossy.is_file(second) else [*own, *paths]
        for path in paths:
            self.lossy.spoil(path, self._draws.randrange(self.lossy.size(path)))
        return len(paths)

    def _draw_own(self) -> list[str]:
        """At most one of the node's own files."""
        names = (*IDENTITY_NAMES, f"store/{STORE_NAME}", CONTROL_NAME)
        there = [
            path for name in names if self.lossy.is_file(path := f"{_DATA}/{name}") and self.lossy.size(path)
        ]
        return [self._draws.choice(there)] if there and self._draws.random() < _OWN_SPOILED_CHANCE else []

    def rot_everywhere(self) -> int:
        """Flip one bit permanently in every file of the node.  Returns the number of files."""
        self.is_rotten = True
        names = self.lossy.list(_STORE) if self.lossy.is_dir(_STORE) else []
        paths = [f"{_STORE}/{name}" for name in names]
        paths += [f"{_DATA}/{name}" for name in (*IDENTITY_NAMES, CONTROL_NAME)]
        paths = [path for path in paths if self.lossy.is_file(path) and self.lossy.size(path)]
        for path in paths:
            self._flip(path, END_CHANCE)
        return len(paths)

    def rot_logs(self) -> int:
        """Damage nearly all that logs have noted; how many there were.

        Their ends stay: what is lost there could not be told from what a power cut takes.
        """
        self.is_rotten = True
        names = self.lossy.list(_STORE) if self.lossy.is_dir(_STORE) else []
        paths = [f"{_STORE}/{name}" for name in names if name.endswith(".log")]
        paths = [path for path in paths if self.lossy.size(path)]
        for path in paths:
            for offset in range(_END_BYTES, self.lossy.size(path) * 9 // 10, _END_BYTES):
                self.lossy.flip(path, offset, 1 << self._draws.randrange(8))
        return len(paths)

    @property
    def may_end_a_start(self) -> bool:
        return self.was_faulty or self.has_lied or self.lossy.capacity is not None

    def fill_up(self) -> None:
        """Leave no free space, or less than the engine's reserve."""
        self._trace.fault("disk_full", self.name)
        self.lossy.capacity = self.lossy.used + self._draws.choice((0, 3000))

    def make_room(self) -> None:
        self.lossy.capacity = None

    async def take_time(self) -> None:
        """One visit to the disk."""
        if self.slower_s:
            self._trace.fault("disk_slow", self.name)
        await asyncio.sleep((self.latency_s + self.slower_s) * self._draws.random())

    def may_fail(self, path: str) -> None:
        """Raises OSError when the drawn fault says so."""
        if self.error_chance and self._draws.random() < self.error_chance:
            self.was_faulty = True
            self._trace.fault("disk_error", self.name)
            raise OSError(errno.EIO, "Input/output error", path)

    def note_full(self) -> None:
        self.was_faulty = True
        self._trace.note(self.name, "meets a full disk")


class StartFiles:
    """`seal` when the start is killed."""

    def __init__(self, disk: NodeDisk) -> None:
        self.disk = disk
        self.is_sealed = False
        self._made: set[str] | None = set()  # what this start has made; None once it has begun a manifest
        self._unnamed: set[str] = set()  # manifests of this start that CURRENT has not named yet
        self._lossy = disk.lossy
        self._locks: list[FileLock] = []

    def seal(self) -> None:
        """The process is gone: its locks are free, and nothing of it touches the disk again."""
        self.is_sealed = True
        for lock in self._locks:
            lock.release()

    def create(self, path: str) -> AppendFile:
        self.check_writable(path)
        made = self._lossy.create(path)
        self.disk.note_new(path)
        if "MANIFEST" in path:
            self._made = None
            self._unnamed.add(path)
        elif self._made is not None:
            self._made.add(path)
        return StartAppendFile(self, made)

    def open_append(self, path: str) -> AppendFile:
        self.check_writable(path)
        return StartAppendFile(self, self._lossy.open_append(path))

    def open_read(self, path: str) -> ReadFile:
        return _StartReadFile(self, self._lossy.open_read(path))

    def open_below(self, folder: str, path: str) -> ReadFile:
        return self.open_read(path)

    def read_bytes(self, path: str) -> bytes:
        return self._lossy.read_bytes(path)

    def mkdir(self, path: str) -> None:
        self.check_writable(path)
        self._lossy.mkdir(path)

    def make_folder(self, path: str) -> None:
        self.check_writable(path)
        self._lossy.make_folder(path)

    def fsync_dir(self, path: str) -> None:
        self.check_writable(path)
        self._lossy.fsync_dir(path)

    def truncate(self, path: str, size: int) -> None:
        self.check_writable(path)
        self._lossy.truncate(path, size)

    def rewrite(self, path: str) -> None:
        self.check_writable(path)
        self._lossy.rewrite(path)

    def rename(self, source: str, target: str) -> None:
        self.check_writable(target)
        if target == f"{_STORE}/{CURRENT}":
            self._unnamed.clear()  # even if it fails
        self._lossy.rename(source, target)

    def link(self, source: str, target: str) -> None:
        self.check_writable(target)
        self._lossy.link(source, target)

    def unlink(self, path: str) -> None:
        self.check_writable(path)
        self._lossy.unlink(path)
        if path in self._unnamed or (self._made and path in self._made):
            self.disk.note_gone(path)

    def remove_tree(self, path: str) -> None:
        self.check_writable(path)
        self._lossy.remove_tree(path)

    def list(self, path: str) -> list[str]:
        return self._lossy.list(path)

    def exists(self, path: str) -> bool:
        return self._lossy.exists(path)

    def is_dir(self, path: str) -> bool:
        return self._lossy.is_dir(path)

    def is_file(self, path: str) -> bool:
        return self._lossy.is_file(path)

    def is_link(self, path: str) -> bool:
        return self._lossy.is_link(path)

    def size(self, path: str) -> int:
        return self._lossy.size(path)

    def mtime_ns(self, path: str) -> int:
        return self._lossy.mtime_ns(path)

    def lock(self, path: str) -> FileLock:
        self._refuse_when_sealed(path)
        lock = self._lossy.lock(path)
        self._locks.append(lock)
        return lock

    def free_space(self, path: str) -> int:
        return self._lossy.free_space(path)

    def free_files(self, path: str) -> int:
        return self._lossy.free_files(path)

    def paced(self, bytes_per_s: float) -> FileSystem:
        return self

    def apart(self) -> FileSystem:
        return self

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await self.disk.take_time()
        return call(*args, **kwargs)

    def check_writable(self, path: str) -> None:
        """Raises OSError for a start that is over, and when the disk fails."""
        self._refuse_when_sealed(path)
        self.disk.may_fail(path)

    def check_sync(self, path: str) -> None:
        """Raises OSError for a start that is over, and when the disk fails; then unsynced writes are lost."""
        self._refuse_when_sealed(path)
        try:
            self.disk.may_fail(path)
        except OSError:
            self._lossy.give_up(path)
            raise

    def _refuse_when_sealed(self, path: str) -> None:
        if self.is_sealed:
            raise OSError(errno.EBADF, "The process is gone", path)


class StartAppendFile:
    def __init__(self, files: StartFiles, inner: AppendFile) -> None:
        self._files = files
        self._inner = inner

    @property
    def path(self) -> str:
        return self._inner.path

    @property
    def size(self) -> int:
        return self._inner.size

    def append(self, data: Buffer) -> None:
        self._files.check_writable(self._inner.path)
        try:
            self._inner.append(data)
        except OSError:
            self._files.disk.note_full()
            raise

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        self.append(data)
        await self._files.disk.take_time()
        self.sync()

    def sync(self) -> None:
        self._files.check_sync(self._inner.path)
        self._inner.sync()

    def close(self) -> None:
        self._inner.close()


class _StartReadFile:
    def __init__(self, files: StartFiles, inner: ReadFile) -> None:
        self._files = files
        self._inner = inner

    @property
    def path(self) -> str:
        return self._inner.path

    @property
    def size(self) -> int:
        return self._inner.size

    def pread(self, size: int, offset: int) -> bytes:
        return self._inner.pread(size, offset)

    def pread_cached(self, size: int, offset: int) -> bytes | None:
        return self._inner.pread_cached(size, offset)

    async def pread_off_loop(self, size: int, offset: int) -> bytes:
        await self._files.disk.take_time()
        return self._inner.pread(size, offset)

    def close(self) -> None:
        self._inner.close()


def _keeps_the_contract(files: StartFiles) -> FileSystem:
    """Checked by mypy alone: the door is a FileSystem."""
    return files
