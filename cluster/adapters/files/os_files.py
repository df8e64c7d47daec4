"""The FileSystem door onto the operating system's files (POSIX).

Writes are made durable on the event loop while syncs are short, else by one thread per file system
(sync_place.py), so that syncs never race each other.  A second small pool serves cold reads, so that no read
queues behind a sync; a third one does all else that waits for the disk, so that a folder's sync does not
queue behind reads.  It makes files with mode 0600 and folders with mode 0700.  It retries nothing and has no
other policy: the caller decides what an error means.

See: docs/architecture.md, "The five doors".
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from ringmill.cluster.adapters.files.core_wait import CoreWait
from ringmill.cluster.adapters.files.files_below import descriptor_below
from ringmill.cluster.adapters.files.pace import Pace
from ringmill.cluster.adapters.files.private_files import FILE_MODE, make_private_folder, open_private
from ringmill.cluster.adapters.files.sync_place import SyncPlace
from ringmill.cluster.adapters.files.tree_removal import remove_tree
from ringmill.cluster.meters.histogram import Histogram
from ringmill.cluster.meters.request_meter import METER_BITS
from ringmill.cluster.ports import AppendFile, Buffer, FileLock, FileSystem, ReadFile

__all__ = ["OsFileSystem"]

_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_CANNOT_TELL: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_READER_THREADS: Final = 4
_WORKER_THREADS: Final = 4
_PIECE_BYTES: Final = 1 << 20
_MANY_FILES: Final = 1 << 40

P = ParamSpec("P")
T = TypeVar("T")

_data_sync = getattr(os, "fdatasync", os.fsync)


class OsFileSystem:
    """Files of this machine.  `close` ends its threads; files it opened stay usable without waiting calls.

    A thread is started when it is first needed, which may be long after the start, at the system's limit on
    threads; whoever cannot do without them calls `start_threads` first.
    Pickled, it is a door to the same files with threads of its own, started when first needed.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._sync_place = SyncPlace()
        self._core_wait = CoreWait()
        self.sync_times = Histogram(METER_BITS)
        """How long it took to append to files and sync them, in each case the wait for the disk included."""
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="read")
        self._workers = ThreadPoolExecutor(_WORKER_THREADS, thread_name_prefix="files")

    def __reduce__(self) -> tuple[type[OsFileSystem], tuple[Pace | None]]:
        return OsFileSystem, (self._pace,)

    def paced(self, bytes_per_s: float) -> FileSystem:
        return OsFileSystem(Pace(bytes_per_s))

    def apart(self) -> FileSystem:
        files = OsFileSystem(self._pace)
        files.start_threads()
        return files

    def start_threads(self) -> None:
        """Raises OSError when the system gives no more threads."""
        may_end = threading.Event()
        pools = (self._syncer, 1), (self._readers, _READER_THREADS), (self._workers, _WORKER_THREADS)
        try:
            for pool, count in pools:
                for _ in range(count):  # each waits, so the next one needs a thread of its own
                    pool.submit(may_end.wait)
        except RuntimeError as error:
            raise OSError(
                errno.EAGAIN, f"{error}; see `ulimit -u` and the limits of the container"
            ) from error
        finally:
            may_end.set()

    def close(self) -> None:
        self._syncer.shutdown()
        self._readers.shutdown()
        self._workers.shutdown()
        self._core_wait.close()

    def create(self, path: str) -> AppendFile:
        return self._append_file(path, os.O_CREAT | os.O_EXCL)

    def open_append(self, path: str) -> AppendFile:
        return self._append_file(path, 0)

    def _append_file(self, path: str, flags: int) -> AppendFile:
        return _OsAppendFile(
            path, flags, self._syncer, self._sync_place, self._core_wait, self.sync_times.record
        )

    def open_read(self, path: str) -> ReadFile:
        return _OsReadFile(path, self._readers, self._pace)

    def open_below(self, folder: str, path: str) -> ReadFile:
        return _OsReadFile(path, self._readers, self._pace, descriptor_below(folder, path))

    def read_bytes(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def mkdir(self, path: str) -> None:
        make_private_folder(path)

    def make_folder(self, path: str) -> None:
        os.mkdir(path)

    def fsync_dir(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _named(path):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def truncate(self, path: str, size: int) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            with _named(path):
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rewrite(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with _named(path):
                offset = 0
                while piece := os.pread(descriptor, _PIECE_BYTES, offset):
                    offset += os.pwrite(descriptor, piece, offset)
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def link(self, source: str, target: str) -> None:
        os.link(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def remove_tree(self, path: str) -> None:
        remove_tree(path)

    def list(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(path)

    def is_file(self, path: str) -> bool:
        return os.path.isfile(path)

    def is_link(self, path: str) -> bool:
        return os.path.islink(path)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def mtime_ns(self, path: str) -> int:
        return os.stat(path).st_mtime_ns

    def lock(self, path: str) -> FileLock:
        return _OsFileLock(path)

    def free_space(self, path: str) -> int:
        stat = os.statvfs(path)
        return stat.f_bavail * stat.f_frsize

    def free_files(self, path: str) -> int:
        stat = os.statvfs(path)
        return stat.f_favail if stat.f_files else _MANY_FILES  # some make inodes as they need them

    async def off_loop(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, partial(call, *args, **kwargs))


class _OsAppendFile:
    """One writer's file.  Cancelling `append_and_sync` ends the wait, not the write."""

    def __init__(
        self,
        path: str,
        flags: int,
        syncer: ThreadPoolExecutor,
        place: SyncPlace,
        core_wait: CoreWait,
        note_ns: Callable[[int], None],
    ) -> None:
        self._path = path
        self._note_ns = note_ns
        self._syncer = syncer
        self._place = place
        self._core_wait = core_wait
        self._descriptor = os.open(path, flags | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        self._size = os.fstat(self._descriptor).st_size

    @property
    def path(self) -> str:
        return self._path

    @property
    def size(self) -> int:
        return self._size

    def append(self, data: Buffer) -> None:
        try:
            written = os.write(self._descriptor, data)
            self._size += written
            while written < len(data):  # a short write: the next one tells why, or goes on
                more = os.write(self._descriptor, memoryview(data)[written:])
                self._size += more
                written += more
        except OSError as error:
            error.filename = self._path
            raise

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        if off_loop:
            self._place.asked_for_thread()
        elif self._place.is_loop(len(data)):
            waited_s = self._core_wait.so_far_s()
            took_s = self._append_then_sync(data)
            self._place.took(took_s - (self._core_wait.so_far_s() - waited_s))
            return
        sync = self._syncer.submit(self._append_then_sync, data)
        self._place.begun(sync)
        await asyncio.wrap_future(sync)

    def _append_then_sync(self, data: Buffer) -> float:
        """How long that took, in seconds."""
        begun = time.perf_counter()
        self.append(data)
        self.sync()
        took_s = time.perf_counter() - begun
        self._note_ns(int(took_s * 1e9))
        return took_s

    def sync(self) -> None:
        with _named(self._path):
            _data_sync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class _OsReadFile:
    """A file read at offsets; asks the page cache without blocking where the kernel can answer that."""

    def __init__(
        self, path: str, readers: ThreadPoolExecutor, pace: Pace | None, descriptor: int | None = None
    ) -> None:
        self._path = path
        self._readers = readers
        self._pace = pace
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if descriptor is None else descriptor
        self._descriptor = opened
        self._size = os.fstat(self._descriptor).st_size
        self._can_tell = _NOWAIT != 0

    @property
    def path(self) -> str:
        return self._path

    @property
    def size(self) -> int:
        return self._size

    def pread(self, size: int, offset: int) -> bytes:
        if self._pace is not None:
            self._pace.spend(size)
        with _named(self._path):
            data = os.pread(self._descriptor, size, offset)
            while len(data) < size:  # the kernel may give less than asked before the end of the file
                more = os.pread(self._descriptor, size - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data

    def pread_cached(self, size: int, offset: int) -> bytes | None:
        if not self._can_tell:
            return self.pread(size, offset)
        buffer = bytearray(size)
        try:
            got = os.preadv(self._descriptor, (buffer,), offset, _NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _CANNOT_TELL:
                error.filename = self._path
                raise
            self._can_tell = False
            return self.pread(size, offset)
        if got < size:
            return bytes(buffer[:got]) if offset + got >= self._size else None
        return bytes(buffer)

    async def pread_off_loop(self, size: int, offset: int) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.pread, size, offset)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class _OsFileLock:
    """flock: it belongs to this open file, so a second opening in the same process is refused as well."""

    def __init__(self, path: str) -> None:
        self._descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            with _named(path):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class _named:  # noqa: N801  (a context manager read as a phrase)
    """Puts the file's name into an OSError raised by a call that only knew a descriptor."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = self._path


def _keeps_the_contract(files: OsFileSystem) -> FileSystem:
    """Checked by mypy alone: the adapter is a FileSystem."""
    return files
