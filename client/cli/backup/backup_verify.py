"""`ringmill backup verify URL NAME`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from ringmill.client.cli.backup.local_tables import local_tables
from ringmill.client.cli.backup.opened_store import backup_bar, opened_store, place_argument
from ringmill.client.cli.backup.table_program import damages
from ringmill.client.cli.console import output
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import CorruptData
from ringmill.cluster.os_errors import error_text, passes

if TYPE_CHECKING:
    from ringmill.client.backups.backup_manifest import BackedTable, BackupManifest
    from ringmill.client.backups.backup_store import BackupStore
    from ringmill.client.cli.backup.local_tables import LocalTables

__all__ = ["verify"]

_BYTES_AT_ONCE: Final = 256 << 20
"""The most bytes of tables that one program checks; those of a URL are copied to this machine."""


@click.command()
@place_argument
@click.argument("name")
@click.pass_obj
def verify(settings: Settings, place: str, name: str) -> ExitCode:
    """Read all tables of the backup NAME, and check their hashes and the checksum of every block.

    Names each damaged file, and exits with 1 when there is one.
    """
    with opened_store(place) as store:
        manifest = asyncio.run(store.read(name))
        with (
            backup_bar("checking", manifest.size_bytes) as progress,
            local_tables(store, progress) as local,
        ):
            found = asyncio.run(_check(store, manifest, local))
    document = {
        "name": name,
        "tables": len(manifest.tables()),
        "bytes": manifest.size_bytes,
        "damages": found,
    }
    rows: list[tuple[str, object]] = [
        ("backup", name),
        ("tables", f"{len(manifest.tables())} of {manifest.size_bytes:,} bytes"),
        ("damages", len(found)),
        *(("damaged", f"{each['path']} {each['why']}") for each in found),
    ]
    output.fields(settings, document, rows)
    return ExitCode.FAILED if found else ExitCode.DONE


async def _check(store: BackupStore, manifest: BackupManifest, local: LocalTables) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    sound: list[tuple[BackedTable, str]] = []
    for table in manifest.tables().values():
        try:
            sound.append((table, await local.fetch(table)))
        except CorruptData as error:
            found.append({"path": store.table_path(table.sha256), "offset": 0, "why": error.detail["why"]})
        except OSError as error:
            if passes(error):  # of this machine, which has no room for a copy
                raise
            why = f"cannot be read: {error_text(error)}"
            found.append({"path": store.table_path(table.sha256), "offset": 0, "why": why})
        if sum(each.bytes for each, _ in sound) >= _BYTES_AT_ONCE:
            found += await _check_blocks(store, sound, local)
            sound = []
    return found + await _check_blocks(store, sound, local)


async def _check_blocks(
    store: BackupStore, tables: list[tuple[BackedTable, str]], local: LocalTables
) -> list[dict[str, Any]]:
    """A table whose hash fits may have been damaged on the node already."""
    if not tables:
        return []
    names = {path: store.table_path(table.sha256) for table, path in tables}
    found = await damages((table.file, path) for table, path in tables)
    for path in names:
        await local.forget(path)
    return [{**each, "path": names.get(each["path"], each["path"])} for each in found]
