"""The extent of a store's logs by names and sizes alone, before the store is opened."""

from __future__ import annotations

from ringmill.cluster.ports import FileSystem
from ringmill.node.storage.names import parse_name

__all__ = ["found_logs"]


def found_logs(files: FileSystem, folder: str) -> tuple[int, list[tuple[int, int]]]:
    """The highest number of any file, and each log's number and size in bytes.

    It reads no content, so damage does not change the result, and after a crash the result is never below
    what was synced.  Raises OSError.
    """
    names = files.list(folder) if files.is_dir(folder) else []
    parsed = [(name, found) for name in names if (found := parse_name(name))]
    logs = [(found.file_id, files.size(f"{folder}/{name}")) for name, found in parsed if found.kind == "log"]
    return max((found.file_id for _, found in parsed), default=0), sorted(logs)
