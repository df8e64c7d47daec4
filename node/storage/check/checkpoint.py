"""Makes a checkpoint: a second folder with hard links to tables and closed logs, and a manifest.

It does not copy the node's identity.  The two folders share files until one of them deletes its link.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.names import log_name, table_name
from ringmill.node.storage.unflushed import SealedMemtable
from ringmill.node.storage.version.manifest import create_manifest
from ringmill.node.storage.version.table_installer import TableInstaller
from ringmill.node.storage.version.version import Version, VersionEdit
from ringmill.node.storage.version.version_set import VersionSet

__all__ = ["make_checkpoint"]


async def make_checkpoint(
    files: FileSystem,
    source: str,
    target: str,
    tables: VersionSet,
    installer: TableInstaller,
    sealed: Sequence[SealedMemtable],
) -> None:
    """Link all files in force, including the logs of `sealed` memtables (oldest first) once they are closed.

    Raises FileExistsError when `target` holds files already, StorageFailed, OSError.
    """
    closed = await gather_all(memtable.closed_logs() for memtable in sealed)
    (manifest_id,) = await tables.take_ids(1)
    async with installer.quiet:
        version = tables.version
        log_ids = [log for logs in closed for log in logs if log >= version.oldest_log]
        with tables.pin():
            await files.off_loop(_write_checkpoint, files, source, target, version, log_ids, manifest_id)


def _write_checkpoint(
    files: FileSystem, source: str, target: str, version: Version, log_ids: Sequence[int], manifest_id: int
) -> None:
    """Blocks.  Raises FileExistsError when `target` holds files already, OSError."""
    files.mkdir(target)
    if files.list(target):
        raise FileExistsError(f"{target} is not empty")
    names = [table_name(meta.file_id) for meta in version.all_tables()] + list(map(log_name, log_ids))
    for name in names:
        files.link(f"{source}/{name}", f"{target}/{name}")
    # of the log that is open now it has nothing
    version = version.apply(VersionEdit(newest_log=max(log_ids, default=0)))
    create_manifest(files, target, manifest_id, version).close()
