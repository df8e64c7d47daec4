"""Reads the logs of local nodes: the last lines of one, or all of them as they grow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

__all__ = ["follow_files", "tail"]

POLL_S = 0.2
TAIL_BYTES = 64 * 1024


def tail(path: str, lines: int) -> list[str]:
    """The last lines of a log, within its last 64 KiB; none when there is no such file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - TAIL_BYTES))
            data = file.read()
    except FileNotFoundError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-lines:] if lines else []


def follow_files(paths: Mapping[str, str], show: Callable[[str, str], None]) -> None:
    """Call `show` with (name, line) for each line that is written from now on; only Ctrl-C ends it."""
    offsets = {name: _size(path) for name, path in paths.items()}
    while True:
        for name, path in paths.items():
            offsets[name] = _new_lines(name, path, offsets[name], show)
        time.sleep(POLL_S)


def _new_lines(name: str, path: str, offset: int, show: Callable[[str, str], None]) -> int:
    """Show the complete lines after `offset`.  Returns the offset at which to continue."""
    if _size(path) <= offset:
        return offset
    with open(path, "rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.decode("utf-8", "replace").splitlines():
        show(name, line)
    return offset + len(whole)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0
