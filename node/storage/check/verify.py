"""Checks every block of a file: the same walk for a closed folder and for a running engine.

`check_file` reads a file step by step; a scrub takes the same steps off the loop and under a rate limit.
For a file that still grows only its synced part is checked, where nothing may be torn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.log.framing import Damage
from ringmill.node.storage.log.log_format import read_log
from ringmill.node.storage.names import CURRENT, FilePart, log_name, manifest_name
from ringmill.node.storage.storage_errors import CorruptBlock, damage_at
from ringmill.node.storage.table.table_reader import Table, open_table
from ringmill.node.storage.version.manifest import read_current, read_manifest

__all__ = ["Checked", "check_current", "check_file", "scrub"]

_STEP_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """One step of a walk: the number of bytes read, and the damages found in them."""

    size: int
    damages: list[CorruptBlock]


def check_file(files: FileSystem, folder: str, part: FilePart) -> Iterator[Checked]:
    """Walk a table, a log or a manifest.  Each step blocks.  Raises OSError.

    Damage at the end of a whole log may be the tail of a power cut: docs/formats/log.md, "Recovery".
    """
    walk = {"table": _check_table, "log": _check_log, "manifest": _check_manifest}[part.name.kind]
    return walk(files, folder, part)


def check_current(files: FileSystem, folder: str) -> list[CorruptBlock]:
    """The damage of the file CURRENT, which names the manifest.  Blocks.  Raises OSError."""
    try:
        read_current(files, folder)
    except CorruptBlock as error:
        return [error]
    except FileNotFoundError:
        return [CorruptBlock(f"{folder}/{CURRENT}", 0, "the file is missing")]
    return []


async def scrub(
    files: FileSystem, folder: str, part: FilePart, bytes_per_s: float, is_needed: Callable[[], bool]
) -> AsyncIterator[CorruptBlock]:
    """The damages of one file, read at no more than `bytes_per_s`.  Raises OSError.

    A file that was deleted meanwhile is damage only if it `is_needed` still.
    """
    steps = check_file(files, folder, part)  # not closed when cancelled: a thread may be running it
    while True:
        try:
            step = await files.off_loop(next, steps, None)
        except FileNotFoundError as error:
            if is_needed():
                yield CorruptBlock(str(error.filename), 0, "the file is missing")
            return
        if step is None:
            return
        for damage in step.damages:
            yield damage
        await asyncio.sleep(step.size / bytes_per_s)


def _check_table(files: FileSystem, folder: str, part: FilePart) -> Iterator[Checked]:
    try:
        table = open_table(files, folder, part.name.file_id)
    except CorruptBlock as error:
        yield Checked(0, [error])
        return
    try:
        for first, last in _steps(table):
            handles = table.handles[first:last]
            yield Checked(sum(handle.size for handle in handles), _check_blocks(table, first, last))
    finally:
        table.close()


def _check_log(files: FileSystem, folder: str, part: FilePart) -> Iterator[Checked]:
    path = f"{folder}/{log_name(part.name.file_id)}"
    try:
        data = _read(files, path, part.size)
    except CorruptBlock as error:
        yield Checked(part.size or 0, [error])
        return
    start, damages = 0, list[CorruptBlock]()
    for offset, end, item in read_log(part.name.file_id, data):
        if isinstance(item, Damage):
            damages.append(CorruptBlock(path, offset, item.why))
        if end - start >= _STEP_BYTES:
            yield Checked(end - start, damages)
            start, damages = end, []
    if part.size is not None and len(data) < part.size:
        damages.append(CorruptBlock(path, len(data), f"{part.size} bytes were synced, {len(data)} are left"))
    yield Checked(len(data) - start, damages)


def _check_manifest(files: FileSystem, folder: str, part: FilePart) -> Iterator[Checked]:
    file_id = part.name.file_id
    size = files.size(f"{folder}/{manifest_name(file_id)}")
    try:
        read_manifest(files, folder, file_id, synced_bytes=part.size)
    except CorruptBlock as error:
        yield Checked(size, [error])
    else:
        yield Checked(size, [])


def _read(files: FileSystem, path: str, size: int | None) -> bytes:
    with damage_at(path, 0):
        file = files.open_read(path)
        try:
            return file.pread(file.size if size is None else size, 0)
        finally:
            file.close()


def _steps(table: Table) -> Iterator[tuple[int, int]]:
    """Block numbers [first, last) that lie within about one step of the file."""
    first = 0
    handles = table.handles
    while first < len(handles):
        last = first + 1
        while last < len(handles) and handles[last].offset - handles[first].offset < _STEP_BYTES:
            last += 1
        yield first, last
        first = last


def _check_blocks(table: Table, first: int, last: int) -> list[CorruptBlock]:
    damages = []
    for number in range(first, last):
        try:
            table.read_block(number)
        except CorruptBlock as error:
            damages.append(error)
    return damages
