"""A second folder that opens as the store was: hard links to tables and closed logs, and a manifest.

Nothing of the node's identity is copied; files are shared with the original until either deletes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.ports import FileSystem
from node.storage.manifest import create_manifest
from node.storage.names import log_name, table_name
from node.storage.version import Version

__all__ = ["write_checkpoint"]


def write_checkpoint(
    files: FileSystem, source: str, target: str, version: Version, log_ids: Sequence[int], manifest_id: int
) -> None:
    """Blocks.  Raises FileExistsError when `target` holds files already, OSError."""
    files.mkdir(target)
    if files.list(target):
        raise FileExistsError(f"{target} is not empty")
    names = [table_name(meta.file_id) for meta in version.tables()] + list(map(log_name, log_ids))
    for name in names:
        files.link(f"{source}/{name}", f"{target}/{name}")
    create_manifest(files, target, manifest_id, version).close()
