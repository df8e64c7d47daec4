"""Scrubbing an engine that is running: every block of every file in force, at a steady rate.

What a scrub finds is worked off while the engine serves: a damaged table is rewritten without its damaged
blocks, a damaged manifest is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.check.verify import check_current, scrub
from ringmill.node.storage.log.write_ahead_log import LogFile
from ringmill.node.storage.names import FileName, FilePart
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.upkeep.flusher import SealedMemtable
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["logs_in_force", "scrub_store"]


async def scrub_store(
    files: FileSystem,
    folder: str,
    tables: VersionSet,
    logs: Callable[[], list[FilePart]],
    report: Callable[[CorruptBlock], None],
    bytes_per_s: float,
) -> list[CorruptBlock]:
    """The damages of every file in force; each is reported as soon as it is found.  Raises OSError.

    `logs` names the logs that are in force at the time it is called.
    """
    damages: list[CorruptBlock] = []

    async def walk(parts: Sequence[FilePart]) -> None:
        for part in parts:
            async for damage in scrub(files, folder, part, bytes_per_s, partial(is_in_force, part.name)):
                report(damage)
                damages.append(damage)

    def is_in_force(name: FileName) -> bool:
        return name.kind == "table" or name in {part.name for part in (tables.manifest_part, *logs())}

    with tables.pin() as view:
        await walk([FilePart(FileName("table", file_id)) for file_id in view.tables])
    await walk(logs())
    before = len(damages)
    await walk([tables.manifest_part])
    damages += await files.off_loop(check_current, files, folder)
    if len(damages) > before:
        await tables.renew_manifest()
    return damages


def logs_in_force(
    recovered: Sequence[int], current: LogFile, sealed: Sequence[SealedMemtable], oldest_log: int
) -> list[FilePart]:
    """The logs whose batches are in no table yet, each as far as it is synced.

    `recovered` are those that the active memtable was read from when the engine was opened.
    """
    closed = [*recovered, *(file_id for memtable in sealed for file_id in memtable.log_ids)]
    parts = [FilePart(FileName("log", file_id)) for file_id in closed]
    for log in (current, *(memtable.last_log for memtable in sealed)):
        parts += _written(log)
    return [part for part in parts if part.name.file_id >= oldest_log]


def _written(log: LogFile) -> Iterator[FilePart]:
    for file_id, size in zip(log.file_ids, log.synced_sizes, strict=True):
        yield FilePart(FileName("log", file_id), size)
