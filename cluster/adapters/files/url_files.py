"""Files of this machine, and those that fsspec reads and writes by URL: the inputs and outputs of jobs.

A file by URL is there when its writer has closed it, and takes the place of one of its name.  What else
changes files gets the operating system's error for a URL.  fsspec and what it needs for a
kind of URL (s3fs, gcsfs, adlfs, ...) are loaded when the first URL of that kind is met.  Nothing is kept
between two calls, as task processes are forked and files may change.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any, Final
from zlib import crc32

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.files.pace import Pace
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.mapreduce.file_urls import is_url
from ringmill.cluster.ports import AppendFile, Buffer, ReadFile

__all__ = ["UrlFiles"]

_MARKS: Final = (
    "mtime",
    "LastModified",
    "last_modified",
    "modified",
    "updated",
    "ETag",
    "etag",
    "md5",
    "created",
)
"""Under these names kinds of fsspec say when a file was modified, or which version of it this is."""
_NANO: Final = 1_000_000_000
_COPIED_WITHIN_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class UrlFiles(OsFileSystem):
    """A file by path, or by URL for the methods that read, and for `create`, `rename` and `unlink`.

    Raises InvalidArgument for a URL of a kind that is not installed.
    """

    def __reduce__(self) -> tuple[type[OsFileSystem], tuple[Pace | None]]:
        return UrlFiles, (self._pace,)

    def create(self, path: str) -> AppendFile:
        return _UrlWriter(path) if is_url(path) else super().create(path)

    def rename(self, source: str, target: str) -> None:
        """By URL, within one store: it copies what was written whole, without sending it through here.

        Raises OSError when the copy is not whole in a minute; then `source` stays.
        """
        if not is_url(target):
            super().rename(source, target)
            return
        with _written(target) as (store, name):
            former = store._strip_protocol(source)
            if getattr(store, "local_file", False):
                store.mv(former, name)
                return
            size_bytes = _info(source).get("size")
            try:
                store.cp_file(former, name)
            except NotImplementedError:  # what has no copies may have a rename of its own, as SFTP does
                store.mv(former, name)
            else:
                _wait_for_copy(target, size_bytes)
                store.rm_file(former)

    def unlink(self, path: str) -> None:
        if not is_url(path):
            super().unlink(path)
            return
        with _written(path) as (store, name):
            store.rm_file(name)

    def open_read(self, path: str) -> ReadFile:
        return _UrlFile(path) if is_url(path) else super().open_read(path)

    def read_bytes(self, path: str) -> bytes:
        if not is_url(path):
            return super().read_bytes(path)
        with _stored(path) as (store, name):
            data: bytes = store.cat_file(name)
        return data

    def list(self, path: str) -> list[str]:
        if not is_url(path):
            return super().list(path)
        with _stored(path) as (store, name):
            store.invalidate_cache()
            own = store._strip_protocol(name).rstrip("/")  # as names in a listing begin
            found = [each.rstrip("/") for each in store.ls(name, detail=False)]
        return sorted({each.rpartition("/")[2] for each in found if each and each != own})

    def exists(self, path: str) -> bool:
        if not is_url(path):
            return super().exists(path)
        try:
            _info(path)
        except (FileNotFoundError, NotADirectoryError):
            return False  # other errors are told: fsspec's own `exists` takes each for "no"
        return True

    def is_dir(self, path: str) -> bool:
        return _kind(path) == "directory" if is_url(path) else super().is_dir(path)

    def is_file(self, path: str) -> bool:
        return _kind(path) == "file" if is_url(path) else super().is_file(path)

    def size(self, path: str) -> int:
        return _size(path, _info(path)) if is_url(path) else super().size(path)

    def mtime_ns(self, path: str) -> int:
        """When a file changed; for a URL whose store tells no time, a number made from its version, or 0."""
        return _mark(_info(path)) if is_url(path) else super().mtime_ns(path)


class _UrlFile:
    """A file of a store, opened for reading at offsets."""

    def __init__(self, url: str) -> None:
        self.path = url
        self.size = _size(url, _info(url))
        with _stored(url) as (store, name):
            self._file = store.open(name, "rb", cache_type="none")

    def pread(self, size: int, offset: int) -> bytes:
        wanted = min(size, self.size - offset)
        if wanted <= 0:
            return b""
        parts = []
        with _told(self.path):
            self._file.seek(offset)
            while wanted and (part := self._file.read(wanted)):
                parts.append(part)
                wanted -= len(part)
        return b"".join(parts)

    def pread_cached(self, size: int, offset: int) -> bytes | None:
        return self.pread(size, offset)

    async def pread_off_loop(self, size: int, offset: int) -> bytes:
        return self.pread(size, offset)

    def close(self) -> None:
        self._file.close()


class _UrlWriter:
    """A file of a store that is being written, from its beginning."""

    def __init__(self, url: str) -> None:
        self.path, self.size = url, 0
        with _written(url) as (store, name):
            store.makedirs(store._parent(name), exist_ok=True)
            self._file = store.open(name, "wb")

    def append(self, data: Buffer) -> None:
        with _told(self.path):
            self._file.write(data)
        self.size += memoryview(data).nbytes

    async def append_and_sync(self, data: Buffer, *, off_loop: bool = False) -> None:
        self.append(data)

    def sync(self) -> None:
        """A store keeps what its writer has closed."""

    def close(self) -> None:
        with _told(self.path):
            self._file.close()


@contextmanager
def _stored(url: str) -> Iterator[tuple[Any, str]]:
    """The store of a URL and the name that the URL has there; every error within becomes an OSError."""
    try:
        fsspec = import_module("fsspec")
    except ImportError as error:
        raise InvalidArgument(
            f"{url:.200} is read by fsspec, which is not installed", hint="pip install ringmill[urls]"
        ) from error
    try:
        store, name = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InvalidArgument(
            f"{url:.200} cannot be read: {error}", hint="install what fsspec needs for it, on every node"
        ) from error
    with _told(url):
        yield store, name


@contextmanager
def _written(url: str) -> Iterator[tuple[Any, str]]:
    """The store of a URL that is to be changed, and the name in it.

    Raises InvalidArgument where the name of a store hides files of this machine; whoever writes local://
    knows that they are.
    """
    with _stored(url) as (store, name):
        if getattr(store, "local_file", False) and not url.startswith("local://"):
            raise InvalidArgument(f"{url:.200} is a file of this machine, and no store; give its path")
        yield store, name


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except RingmillError:
        raise
    except OSError as error:
        if error.errno is not None and error.filename == url:
            raise
        number = error.errno or (errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO)
        raise OSError(number, error.strerror or str(error) or type(error).__name__, url) from error
    except Exception as error:  # of a library below fsspec, each of which has its own
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", url) from error


def _wait_for_copy(url: str, size_bytes: int | None) -> None:
    """Some stores, as Azure's, answer when a copy has begun.  Raises OSError for one that does not end."""
    ends_at = time.monotonic() + _COPIED_WITHIN_S
    pause_s = _FIRST_PAUSE_S
    while (copied_bytes := _copied_bytes(url)) != size_bytes:
        if time.monotonic() > ends_at:
            raise OSError(
                errno.ETIMEDOUT,
                f"the store has copied {copied_bytes} of {size_bytes} bytes in {_COPIED_WITHIN_S:g} s",
                url,
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _copied_bytes(url: str) -> int | None:
    """How much of a copy is there; None for a store that does not tell."""
    try:
        size_bytes: int | None = _info(url).get("size")
    except FileNotFoundError:
        return 0
    return size_bytes


def _info(url: str) -> Mapping[str, Any]:
    with _stored(url) as (store, name):
        store.invalidate_cache()
        found: Mapping[str, Any] = store.info(name)
    return found


def _kind(url: str) -> str:
    """ "file", "directory", or "" when nothing is there."""
    try:
        return str(_info(url).get("type", ""))
    except FileNotFoundError:
        return ""


def _size(url: str, info: Mapping[str, Any]) -> int:
    size = info.get("size")
    if not isinstance(size, int):
        raise InvalidArgument(
            f"{url:.200} does not tell its size, so it cannot be cut into splits",
            hint="copy it to a file first",
        )
    return size


def _mark(info: Mapping[str, Any]) -> int:
    for name in _MARKS:
        match info.get(name):
            case datetime() as time:
                return int(time.timestamp() * _NANO)
            case bool() | None:
                continue
            case int() | float() as seconds:
                return int(seconds * _NANO)
            case str() as version if version:
                return crc32(version.encode())
    return 0
