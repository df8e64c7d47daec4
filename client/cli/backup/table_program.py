"""Starts `python -m ringmill.node.backups`, which reads tables, and hears what it says.

The command line may not import the node: the format of tables is the engine's own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgpack

from ringmill.client.backups.backup_manifest import BackupManifest
from ringmill.client.backups.backup_restore import BackupRow
from ringmill.client.backups.backup_store import VERIFY_HINT
from ringmill.client.local.processes import our_environment
from ringmill.cluster.consensus.remains import holds_own
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.ring.topology import KeyspaceEntry

__all__ = ["damages", "rows_in_tables"]

_PIECE_BYTES: Final = 1 << 20


async def rows_in_tables(
    manifest: BackupManifest, keyspaces: Sequence[KeyspaceEntry], paths: Mapping[str, str]
) -> AsyncGenerator[list[BackupRow], None]:
    """What the backup holds of these keyspaces; `paths` are those of the tables by their hashes.

    Raises CorruptData for what cannot be read.
    """
    asked = {
        "partitions": manifest.topology.partitions,
        "keyspaces": [
            {
                "id": list(each.id),
                "kind": each.kind,
                "is_sloppy": each.is_sloppy,
                "holds_own": holds_own(each),
            }
            for each in keyspaces
        ],
        "sources": [
            {
                "edit": base64.b64encode(node.edit).decode(),
                "sequence": node.sequence,
                "copies": node.copies(manifest.topology),
                "has_hints": not node.lacks_hints,
                "tables": {table.file: paths[table.sha256] for table in node.tables},
            }
            for node in manifest.nodes
        ],
    }
    unpacker, is_ended = msgpack.Unpacker(max_buffer_size=0), False
    async with _open_program("rows", asked) as program:
        assert program.stdout is not None and program.stderr is not None
        while piece := await program.stdout.read(_PIECE_BYTES):
            unpacker.feed(piece)
            for rows in unpacker:
                is_ended = not rows
                if rows:
                    yield [BackupRow(KeyspaceId(epoch, at), key, value) for epoch, at, key, value in rows]
        if not is_ended:
            raise CorruptData(f"the backup cannot be read: {await _last_words(program)}", hint=VERIFY_HINT)


async def damages(tables: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    """The damages of tables, given by numbers and paths: path, offset and why, of each damaged block and each
    table that was not looked through, as the program has died before."""
    asked = [list(each) for each in tables]
    async with _open_program("check", {"tables": asked}) as program:
        assert program.stdout is not None
        reports = [json.loads(line) async for line in program.stdout]
        checked = {each["checked"] for each in reports if "checked" in each}
        left = [path for _, path in asked if path not in checked]
        why = f"was not checked: {await _last_words(program)}" if left else ""
    unchecked = [{"path": path, "offset": 0, "why": why} for path in left]
    return [*(each for each in reports if "checked" not in each), *unchecked]


async def _last_words(program: Process) -> str:
    assert program.stderr is not None
    said = (await program.stderr.read()).decode("utf-8", "replace").strip()
    await program.wait()
    return said.splitlines()[-1] if said else "the program that reads tables was ended"


@asynccontextmanager
async def _open_program(verb: str, asked: object) -> AsyncIterator[Process]:
    command = [sys.executable, "-P", "-m", "ringmill.node.backups", verb]
    program = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=our_environment()
    )
    try:
        assert program.stdin is not None
        program.stdin.write(json.dumps(asked).encode())
        program.stdin.write_eof()
        yield program
    except BaseException:
        if program.returncode is None:
            program.kill()
        raise
    finally:
        await program.wait()
