"""Scrubs a running engine: reads every block of every file in force at a steady rate.

What a scrub or a read finds is worked off while the engine serves: a damaged table is rewritten without its
damaged blocks, a damaged log is replaced by a table of what is in memory, a damaged manifest is written anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.check.verify import check_current, scrub
from ringmill.node.storage.log.log_file import LogFile
from ringmill.node.storage.names import FileName, FilePart, parse_name
from ringmill.node.storage.storage_errors import CorruptBlock
from ringmill.node.storage.unflushed import Unflushed
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["Scrubbing"]

_log = logging.getLogger(__name__)


class Scrubbing:
    """`rewrite` has a table rewritten, and says whether that is news.

    `seal` begins a new memtable, unless nothing may be written.
    """

    def __init__(
        self,
        *,
        files: FileSystem,
        folder: str,
        tables: VersionSet,
        unflushed: Unflushed,
        rewrite: Callable[[int], bool],
        seal: Callable[[], bool],
    ) -> None:
        self._files = files
        self._folder = folder
        self._tables = tables
        self._unflushed = unflushed
        self._rewrite = rewrite
        self._seal = seal

    def report(self, damage: CorruptBlock) -> None:
        """Have a damaged table rewritten without the block, a damaged log replaced by a table of memory."""
        named = parse_name(damage.file.rpartition("/")[2])
        unflushed = self._unflushed
        if named is not None and named.kind == "table":
            if self._rewrite(named.file_id):
                _log.warning("damage found, so the table is written anew: %s", damage)
        elif named is not None and named.file_id in (*unflushed.active_logs, *unflushed.log.current.file_ids):
            self.leave_damaged_log()

    def leave_damaged_log(self) -> None:
        """Have the active memtable flushed without asking its log."""
        if self._seal():
            self._unflushed.sealed[0].is_log_damaged = True

    async def run(self, bytes_per_s: float) -> list[CorruptBlock]:
        """The damages of every file in force; each is reported as soon as it is found.  Raises OSError.

        A table that a merge replaces meanwhile is left out: the merge reads all of it.
        """
        tables = self._tables
        damages: list[CorruptBlock] = []
        # none is pinned, or no merge would give space back until all are read
        parts = [FilePart(FileName("table", file_id)) for file_id in tables.view.tables]
        damages += await self._walk(parts, bytes_per_s)
        damages += await self._walk(self._logs_in_force(), bytes_per_s)
        of_manifest = await self._walk([tables.manifest_part], bytes_per_s)
        of_manifest += await self._files.off_loop(check_current, self._files, self._folder)
        if of_manifest:
            await tables.renew_manifest()
        return damages + of_manifest

    async def _walk(self, parts: Sequence[FilePart], bytes_per_s: float) -> list[CorruptBlock]:
        damages: list[CorruptBlock] = []
        for part in parts:
            is_in_force = partial(self._is_in_force, part.name)
            if part.name.kind == "table" and not is_in_force():
                continue
            async for damage in scrub(self._files, self._folder, part, bytes_per_s, is_in_force):
                if part.name.kind == "table" and not is_in_force():
                    break
                self.report(damage)
                damages.append(damage)
        return damages

    def _is_in_force(self, name: FileName) -> bool:
        if name.kind == "table":
            return name.file_id in self._tables.view.tables
        parts = (self._tables.manifest_part, *self._logs_in_force())
        return name in {part.name for part in parts}

    def _logs_in_force(self) -> list[FilePart]:
        """The logs whose batches are in no table yet, each as far as it is synced."""
        unflushed = self._unflushed
        closed = [
            *unflushed.active_logs,
            *(file_id for memtable in unflushed.sealed for file_id in memtable.log_ids),
        ]
        parts = [FilePart(FileName("log", file_id)) for file_id in closed]
        for log in (unflushed.log.current, *(memtable.last_log for memtable in unflushed.sealed)):
            parts += _written(log)
        return [part for part in parts if part.name.file_id >= self._tables.version.oldest_log]


def _written(log: LogFile) -> Iterator[FilePart]:
    for file_id, size in zip(log.file_ids, log.synced_sizes, strict=True):
        yield FilePart(FileName("log", file_id), size)
