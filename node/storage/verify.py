"""Walking every block of every file: what a scrub does, off the loop and under a rate limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

from cluster.ports import FileSystem
from node.storage.errors import CorruptBlock
from node.storage.log_format import read_log
from node.storage.names import log_name
from node.storage.records import Damage
from node.storage.table_format import TRAILER_BYTES
from node.storage.table_reader import Table, open_table

__all__ = ["damages_of_log", "damages_of_table", "scrub_table"]

_STEP_BYTES: Final = 256 * 1024


async def scrub_table(
    files: FileSystem, folder: str, file_id: int, bytes_per_s: float
) -> AsyncIterator[CorruptBlock]:
    """Damages of one table, read at no more than `bytes_per_s`."""
    try:
        table = await files.off_loop(open_table, files, folder, file_id)
    except CorruptBlock as error:
        yield error
        return
    try:
        for first, last in _steps(table):
            for damage in await files.off_loop(_check_blocks, table, first, last):
                yield damage
            size = sum(handle.size for handle in table.handles[first:last])
            await asyncio.sleep(size / bytes_per_s)
    finally:
        table.close()


def damages_of_table(files: FileSystem, folder: str, file_id: int) -> list[CorruptBlock]:
    """All damages of one table.  Blocks.  Raises OSError."""
    try:
        table = open_table(files, folder, file_id)
    except CorruptBlock as error:
        return [error]
    try:
        return [damage for first, last in _steps(table) for damage in _check_blocks(table, first, last)]
    finally:
        table.close()


def damages_of_log(files: FileSystem, folder: str, file_id: int) -> list[CorruptBlock]:
    """All damages of one log; whether one is an honest tail depends on what follows it.  Blocks."""
    path = f"{folder}/{log_name(file_id)}"
    return [
        CorruptBlock(path, offset, item.why)
        for offset, _, item in read_log(file_id, files.read_bytes(path))
        if isinstance(item, Damage)
    ]


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
    for handle in table.handles[first:last]:
        try:
            table.decode(handle, table.file.pread(handle.size + TRAILER_BYTES, handle.offset))
        except CorruptBlock as error:
            damages.append(error)
    return damages
