"""Turns closed logs into a table.  Runs in a child process, so the loop never sorts or writes a memtable.

`flush_logs` is a function of immutable files; its output is garbage until the manifest names it, and is
synced before that (rule E1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.memtable import Memtable
from ringmill.node.storage.recovery.log_recovery import Loss, recover_logs
from ringmill.node.storage.table.block import cell_of
from ringmill.node.storage.table.run_merge import kept_versions
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_writer import TableShape, TablesWriter

__all__ = ["FlushJob", "FlushResult", "flush_logs", "flush_memtable"]

_CHUNK_KEYS = 20_000


@dataclass(frozen=True, slots=True)
class FlushJob:
    folder: str
    log_ids: tuple[int, ...]
    flushed_sequence: int  # the batch before the first one of these logs
    snapshots: tuple[int, ...]  # ascending
    file_ids: tuple[int, ...]
    shape: TableShape


@dataclass(frozen=True, slots=True)
class FlushResult:
    tables: list[TableMeta]
    last_sequence: int
    losses: list[Loss]


def flush_logs(files: FileSystem, job: FlushJob) -> FlushResult:
    """Write the batches of the logs as tables under temporary names, synced.  Raises OSError."""
    newest_snapshot = job.snapshots[-1] if job.snapshots else 0
    recovered = recover_logs(
        files,
        job.folder,
        job.log_ids,
        job.flushed_sequence,
        newest_snapshot=newest_snapshot,
        are_sealed=True,
    )
    tables = flush_memtable(files, job, recovered.memtable)
    return FlushResult(tables, recovered.last_sequence, recovered.losses)


def flush_memtable(files: FileSystem, job: FlushJob, memtable: Memtable) -> list[TableMeta]:
    """Write the tables of a memtable that is in memory.  Raises OSError."""
    with TablesWriter(files, job.folder, iter(job.file_ids), job.shape) as writer:
        for keys, cells in _sorted_chunks(memtable, job.snapshots):
            writer.add(keys, cells)
        return writer.finish()


def _sorted_chunks(
    memtable: Memtable, snapshots: tuple[int, ...]
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    values, older = memtable.values, memtable.older
    in_order = iter(sorted(values))
    while chunk := list(islice(in_order, _CHUNK_KEYS)):
        if not older:
            yield chunk, [cell_of(*values[key]) for key in chunk]
            continue
        keys, cells = [], []
        for key in chunk:
            versions = [values[key], *reversed(older.get(key, ()))]
            for version in kept_versions(versions, snapshots, ()):
                keys.append(key)
                cells.append(cell_of(*version))
        yield keys, cells
