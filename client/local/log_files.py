"""Reads the logs of local nodes: the last lines of one, or all of them as they grow.

A node rotates its log: PATH is the newest file, then come PATH.1, PATH.2 and so on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final

__all__ = ["FollowedLog", "follow_files", "tail"]

POLL_S: Final = 0.2
TAIL_BYTES: Final = 64 * 1024
_LOOKS: Final = 5


def tail(path: str, lines: int) -> list[str]:
    """The last lines of a log, within its last 64 KiB; none when there is no such file."""
    data = b""
    for each in _newest_first(path):
        data = _end_of(each, TAIL_BYTES - len(data)) + data
        if len(data) >= TAIL_BYTES or data.count(b"\n") > lines:
            break
    return data.decode("utf-8", "replace").splitlines()[-lines:] if lines else []


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
        self._file = _open_if_there(path)
        self._begun = b""  # a line that is not whole yet
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def last_lines(self, lines: int) -> list[str]:
        """The last whole lines from before it was followed, within 64 KiB.  Called before `new_lines`."""
        if self._file is None or not lines:
            return []
        size = self._file.tell()
        first = max(0, size - TAIL_BYTES)
        data = os.pread(self._file.fileno(), size - first, first)
        self._begun = data[data.rfind(b"\n") + 1 :]
        data = data[: len(data) - len(self._begun)]
        for path in self._older():
            if len(data) >= TAIL_BYTES or data.count(b"\n") > lines:
                break
            data = _end_of(path, TAIL_BYTES - len(data)) + data
        return data.decode("utf-8", "replace").splitlines()[-lines:]

    def _older(self) -> Iterator[str]:
        """The files from before the one that is being read, newest first."""
        is_older = False
        for path in _newest_first(self._path):
            if is_older:
                yield path
            elif (file := _open_if_there(path)) is not None:
                with file:
                    is_older = self._file is not None and _are_same(file, self._file)

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
        which it would miss what comes.  The one that is being read is met in the end, unless it was removed.
        """
        for _ in range(_LOOKS):
            newer, is_whole = self._open_newer()
            if is_whole:
                break
            for file in newer:
                file.close()
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
        if self._file is None:
            return
        data = self._begun + self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._begun = data[len(whole) :]
        yield from whole.decode("utf-8", "replace").splitlines()


def _are_same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def _newest_first(path: str) -> Iterator[str]:
    """The files of a log."""
    number, each = 0, path
    while os.path.exists(each):
        yield each
        number += 1
        each = f"{path}.{number}"


def _end_of(path: str, most_bytes: int) -> bytes:
    file = _open_if_there(path)
    if file is None:
        return b""
    with file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most_bytes))
        return file.read()


def _open_if_there(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None
