"""Reads the logs of local nodes: the last lines of one, or all of them as they grow.

A node rotates its log: PATH is the newest file, then come PATH.1, PATH.2 and so on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import BinaryIO, Final

__all__ = ["FollowedLog", "follow_files", "tail"]

POLL_S: Final = 0.2
TAIL_BYTES: Final = 64 * 1024
_LOOKS: Final = 50
_LOOK_PAUSE_S: Final = 0.02  # the process that rotates may have to wait for a processor
_READ_BYTES: Final = 1 << 20
_MOST_GAP: Final = 2  # files: one that a rotation has moved on, beside one where a rotation was broken off


def tail(path: str, lines: int) -> list[str]:
    """The last lines of a log, within its last 64 KiB; none when there is no such file."""
    with ExitStack() as stack:
        return _last_lines(b"", _all_newest_first(path, stack), lines)


def follow_files(logs: Mapping[str, FollowedLog], show: Callable[[str, str], None]) -> None:
    """Call `show` with (name, line) for each line that has come since; only Ctrl-C ends it."""
    while True:
        for name, log in logs.items():
            for line in log.new_lines():
                show(name, line)
        time.sleep(POLL_S)


class FollowedLog:
    """The end of the log at `path`, and what is written to it from now on, also after it was rotated."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _open_if_there(path) or _open_if_there(f"{path}.1")  # the next one is not made yet
        self._begun = b""  # a line that is not whole yet
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def last_lines(self, lines: int) -> list[str]:
        """The last whole lines from before it was followed, within 64 KiB.  Called before `new_lines`."""
        if self._file is None:
            return []
        size = self._file.tell()
        first = max(0, size - TAIL_BYTES)
        data = os.pread(self._file.fileno(), size - first, first)
        self._begun = data[data.rfind(b"\n") + 1 :]
        data = data[: len(data) - len(self._begun)]
        with ExitStack() as stack:
            return _last_lines(data, self._older(stack), lines)

    def earlier_lines(self, since: datetime | None = None, *, is_whole: bool = True) -> Iterator[str]:
        """The lines from before it was followed, oldest first, a MiB at a time.  Called before `new_lines`.

        Files that were last written before `since` are left out, and with `is_whole` a line without an end.
        """
        with ExitStack() as stack:
            for file in reversed(self._older(stack)):
                if since is None or os.fstat(file.fileno()).st_mtime >= since.timestamp():
                    yield from self._take(file, os.fstat(file.fileno()).st_size)
        if self._file is not None:
            yield from self._take(self._file, self._file.tell())
        if self._begun and not is_whole:
            yield self._begun.decode("utf-8", "replace")

    def _take(self, file: BinaryIO, size_bytes: int) -> Iterator[str]:
        """The whole lines within the first bytes of a file, whose position stays."""
        at = 0
        while data := os.pread(file.fileno(), min(_READ_BYTES, size_bytes - at), at):
            at += len(data)
            yield from self._whole_lines(data)

    def _older(self, stack: ExitStack) -> list[BinaryIO]:
        """The files from before the one that is being read, newest first; closed by `stack`."""
        files = _all_newest_first(self._path, stack)
        for place, file in enumerate(files):
            if self._file is not None and _are_same(file, self._file):
                return files[place + 1 :]
        return []

    def new_lines(self) -> Iterator[str]:
        """The whole lines that have been written since the last call."""
        for file in self._newer_files():
            if self._file is not None:
                yield from self._read()
                self._file.close()
            self._file = file
        yield from self._read()

    def _newer_files(self) -> list[BinaryIO]:
        """The files that have been begun after the one that is being read, oldest first.

        A rotation that is under way moves files on beneath this look: it may meet one twice, or a gap, behind
        which it would miss what comes, so it looks again for a second.  The one that is being read is met in
        the end, unless it was removed.
        """
        for _ in range(_LOOKS):
            newer, is_whole = self._open_newer()
            if is_whole or not newer:
                break
            for file in newer:
                file.close()
            time.sleep(_LOOK_PAUSE_S)
        else:
            newer, _ = self._open_newer()
        return newer[::-1]

    def _open_newer(self) -> tuple[list[BinaryIO], bool]:
        """Newer files, newest first, and whether they are all."""
        newer: list[BinaryIO] = []
        for path in _newest_first(self._path):
            file = _open_if_there(path)
            if file is None:
                return newer, False
            if self._file is None:
                return [file], True
            if _are_same(file, self._file):
                file.close()
                return newer, True
            if newer and _are_same(file, newer[-1]):
                file.close()
                continue
            newer.append(file)
        return newer, self._file is None

    def _read(self) -> Iterator[str]:
        if self._file is not None:
            yield from self._whole_lines(self._file.read())

    def _whole_lines(self, more: bytes) -> Iterator[str]:
        data = self._begun + more
        whole = data[: data.rfind(b"\n") + 1]
        self._begun = data[len(whole) :]
        yield from whole.decode("utf-8", "replace").splitlines()


def _are_same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def _all_newest_first(path: str, stack: ExitStack) -> list[BinaryIO]:
    """The files of a log, open, at one moment between two rotations; closed by `stack`.

    A rotation that is under way moves the oldest on first, so a file may be met twice, and leaves a gap, as
    one that was broken off does.  When it has come to the newest file, the others have all been moved on.
    """
    for _ in range(_LOOKS):
        stack.close()  # what was met in vain
        files = _open_once(path, stack)
        newest = _open_if_there(path) or _open_if_there(f"{path}.1")
        if newest is None:
            break
        with newest:
            if files and _are_same(newest, files[0]):
                break
    return files


def _open_once(path: str, stack: ExitStack) -> list[BinaryIO]:
    """By one walk over their names."""
    files: list[BinaryIO] = []
    number = missing = 0
    while missing <= _MOST_GAP:
        file = _open_if_there(f"{path}.{number}" if number else path)
        number += 1
        if file is None:
            missing += 1
            continue
        missing = 0
        stack.enter_context(file)
        if not (files and _are_same(file, files[-1])):
            files.append(file)
    return files


def _newest_first(path: str) -> Iterator[str]:
    """The files of a log, up to a gap."""
    number, each = 0, path
    while os.path.exists(each):
        yield each
        number += 1
        each = f"{path}.{number}"


def _last_lines(data: bytes, older: Iterable[BinaryIO], lines: int) -> list[str]:
    """Of what ends with `data`, within 64 KiB; `older` are the files from before it, newest first."""
    for file in older:
        if len(data) >= TAIL_BYTES or data.count(b"\n") > lines:
            break
        data = _end_of(file, TAIL_BYTES - len(data)) + data
    return data.decode("utf-8", "replace").splitlines()[-lines:] if lines else []


def _end_of(file: BinaryIO, most_bytes: int) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most_bytes))
    return file.read()


def _open_if_there(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None
