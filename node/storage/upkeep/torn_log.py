"""Ends a log with a torn end, and all logs where the manifest is lost: what a start could read of them goes
into a table, and they stay as they are.

Cutting the end off in place would make the log shorter before anything else on the disk says why.  If power
failed then, the next start would find a log that lacks bytes which other members know as synced, and they
would refuse the folder as an old copy (I5, docs/protocol/identity.md).  A log that a table has replaced is no
longer needed as soon as the new manifest is in force, and until then it lies there untouched.

Rule E4: docs/protocol/engine.md.
"""

from __future__ import annotations

from ringmill.cluster.ports import FileSystem
from ringmill.cluster.sometimes import sometimes
from ringmill.node.storage.engine_options import EngineOptions
from ringmill.node.storage.memtable import Memtable
from ringmill.node.storage.names import log_name, table_name, temporary_name
from ringmill.node.storage.recovery.opening import Opened
from ringmill.node.storage.table.table_format import TableMeta
from ringmill.node.storage.table.table_reader import open_table
from ringmill.node.storage.upkeep.flush_child import FlushJob, flush_memtable
from ringmill.node.storage.upkeep.table_shape import table_shape
from ringmill.node.storage.version.version import Drop, VersionEdit

__all__ = ["replace_torn_log"]


def replace_torn_log(files: FileSystem, folder: str, options: EngineOptions, opened: Opened) -> None:
    """Move what all logs held into a table of `opened`'s version when the last log ends torn, or the manifest
    was lost.

    Blocks, for about as long as a flush.  Raises OSError; the folder then holds what it held, and a table
    that no manifest names, and `opened` is closed.
    """
    recovered = opened.recovered
    if recovered.tail is None:
        return
    if not opened.is_salvaged:
        sometimes("a log with a torn end is replaced by a table")
    torn_log, _ = recovered.tail
    try:
        metas = _write_table(files, folder, options, opened)
        opened.tables |= {meta.file_id: open_table(files, folder, meta.file_id, meta) for meta in metas}
    except BaseException:
        opened.close()
        raise
    edit = VersionEdit(
        added=tuple((0, meta) for meta in metas),
        oldest_log=torn_log + 1,
        flushed_sequence=recovered.last_sequence,
        drops_added=tuple(Drop(prefix, sequence) for prefix, sequence in recovered.memtable.drops),
    )
    opened.version = opened.version.apply(edit)
    opened.unneeded += [log_name(file_id) for file_id in recovered.log_ids]
    recovered.memtable, recovered.log_ids = Memtable(recovered.last_sequence + 1), []
    recovered.damaged = []


def _write_table(files: FileSystem, folder: str, options: EngineOptions, opened: Opened) -> list[TableMeta]:
    """The table under its own name, synced; none when nothing could be read of the logs."""
    recovered = opened.recovered
    job = FlushJob(
        folder=folder,
        log_ids=(),
        flushed_sequence=opened.version.flushed_sequence,
        snapshots=(),
        file_ids=(opened.next_id,),
        shape=table_shape(options, is_split=False),
    )
    opened.next_id += 1
    metas = flush_memtable(files, job, recovered.memtable)
    for meta in metas:
        names = temporary_name(meta.file_id), table_name(meta.file_id)
        files.rename(*(f"{folder}/{name}" for name in names))
    files.fsync_dir(folder)
    return metas
