"""`python -m ringmill.node.backups rows|check`: reads copied tables for the verbs on backups.

A composition root of its own: it opens the real files.  It reads one JSON document from stdin; what stands in
it `_rows_asked` and `_check` say.  `rows` writes what the tables hold to stdout as msgpack arrays [[keyspace
epoch, keyspace ordinal, key, value], ...], and an empty one at the end; `check` writes one line of JSON for
each damage, and one for each table that it has looked through.  Exit codes: 0 all was told, 1 damage or a
file that cannot be read, with one line on stderr.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Any, Final

import msgpack

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.processes.descriptors import raise_limit
from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ports import ReadFile
from ringmill.node.backups.merged_rows import CopiedNode, WantedKeyspace, merged_rows
from ringmill.node.storage.check.verify import check_file
from ringmill.node.storage.names import FileName, FilePart, table_name

__all__ = ["main"]

_ROWS_AT_ONCE: Final = 256
_BYTES_AT_ONCE: Final = 1 << 20


class _Copies(OsFileSystem):
    """Tables under the names that they had in a node's store, wherever their copies lie."""

    def __init__(self, paths: dict[str, str]) -> None:
        super().__init__()
        self._paths = paths

    def open_read(self, path: str) -> ReadFile:
        return super().open_read(self._paths.get(path, path))


def main() -> int:
    """Answer one question and return the exit code."""
    asked = json.load(sys.stdin)
    raise_limit()  # tables of all nodes are open at once
    try:
        return _check(asked) if sys.argv[1:] == ["check"] else _rows(asked)
    except (CorruptData, ProtocolMismatch, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _rows(asked: Any) -> int:
    """`sources` have the fields of CopiedNode, `tables` in place of `folder`: paths by their numbers."""
    paths = {
        f"{number}/{table_name(int(file))}": path
        for number, each in enumerate(asked["sources"])
        for file, path in each["tables"].items()
    }
    sources = [
        CopiedNode(
            str(number),
            base64.b64decode(each["edit"]),
            each["sequence"],
            {int(partition): epoch for partition, epoch in each["copies"].items()},
            each["has_hints"],
        )
        for number, each in enumerate(asked["sources"])
    ]
    keyspaces = [
        WantedKeyspace(KeyspaceId(*each["id"]), each["kind"], each["is_sloppy"], each["holds_own"])
        for each in asked["keyspaces"]
    ]
    with closing(_Copies(paths)) as files:
        asyncio.run(_tell(files, sources, keyspaces, asked["partitions"]))
    return 0


def _check(asked: Any) -> int:
    """`tables`: [number, path] of each."""
    found = 0
    for file, path in asked["tables"]:
        for row in _damages(file, path):
            sys.stdout.write(json.dumps({"path": path, **row}) + "\n")
            found += 1
        sys.stdout.write(json.dumps({"checked": path}) + "\n")
    return 1 if found else 0


def _damages(file: int, path: str) -> Iterator[dict[str, Any]]:
    """The damages of one table.  One that cannot be read is a damage: the others are still looked through."""
    part = FilePart(FileName("table", file))
    with closing(_Copies({f"0/{table_name(file)}": path})) as files:
        try:
            for step in check_file(files, "0", part):
                for damage in step.damages:
                    yield {"offset": damage.offset, "why": damage.why}
        except (ProtocolMismatch, OSError) as error:
            yield {"offset": 0, "why": f"cannot be read: {error}"}


async def _tell(
    files: OsFileSystem, sources: list[CopiedNode], keyspaces: list[WantedKeyspace], partitions: int
) -> None:
    rows: list[tuple[int, int, bytes, bytes]] = []
    size_bytes = 0
    async with aclosing(merged_rows(files, sources, keyspaces, partitions)) as merged:
        async for row in merged:
            rows.append((*row.keyspace, row.key, row.value))
            size_bytes += len(row.key) + len(row.value)
            if len(rows) == _ROWS_AT_ONCE or size_bytes >= _BYTES_AT_ONCE:
                sys.stdout.buffer.write(msgpack.packb(rows))
                rows, size_bytes = [], 0
    for last in (rows, []) if rows else ([],):
        sys.stdout.buffer.write(msgpack.packb(last))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
