"""`ringmill backup restore URL NAME`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from ringmill.client.backups.backup_restore import restore_backup, wanted_keyspaces
from ringmill.client.cli.backup.local_tables import local_tables
from ringmill.client.cli.backup.opened_store import (
    backup_bar,
    opened_store,
    pace_of,
    place_argument,
    rate_option,
)
from ringmill.client.cli.backup.table_program import rows_in_tables
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.connection import token_links_of
from ringmill.cluster.adapters.system_clock import SystemClock

if TYPE_CHECKING:
    from ringmill.client.backups.backup_progress import BackupProgress

__all__ = ["restore"]


@click.command()
@place_argument
@click.argument("name")
@click.option(
    "--keyspace", "names", multiple=True, metavar="NAME", help="only this one; may be given several times"
)
@click.option("--resume", is_flag=True, help="go on with a restore of this backup that was interrupted")
@rate_option
@click.pass_obj
def restore(
    settings: Settings, place: str, name: str, names: tuple[str, ...], resume: bool, rate: str | None
) -> None:
    """Bring what the backup NAME holds into the cluster, of whatever size.

    Its keyspaces are made, and must hold nothing here, not even deleted keys.  All tables are read and
    checked before anything is written.  All members have to be up, and nobody should use the keyspaces until
    the command has ended.  A token with the role admin is needed.
    """
    pace = pace_of(rate)
    with opened_store(place) as store:
        manifest = asyncio.run(store.read(name))
        wanted = wanted_keyspaces(manifest, names)
        with (
            backup_bar("checking", manifest.size_bytes) as checked,
            local_tables(store, checked) as local,
        ):
            paths: dict[str, str] = {}

            async def check_tables() -> None:
                for digest, table in manifest.tables().items():
                    paths[digest] = await local.fetch(table)

            async def run(progress: BackupProgress) -> None:
                async with (
                    open_client(settings) as db,
                    aclosing(rows_in_tables(manifest, wanted, paths)) as rows,
                ):
                    await restore_backup(
                        manifest,
                        wanted,
                        rows,
                        token_links_of(db),
                        db.keyspaces,
                        lambda: db.topology,
                        check_tables=check_tables,
                        is_resumed=resume,
                        clock=SystemClock(),
                        pace=pace,
                        progress=progress,
                    )

            with backup_bar("restoring") as progress:
                asyncio.run(run(progress))
    document = {
        "name": name,
        "keyspaces": [each.name for each in wanted],
        "objects": progress.objects,
        "registers": progress.registers,
        "bytes": progress.done_bytes,
    }
    rows: list[tuple[str, object]] = [
        ("restored", name),
        ("keyspaces", ", ".join(each.name for each in wanted)),
        ("keys", f"{progress.objects:,}"),
        ("registers", f"{progress.registers:,}"),
    ]
    output.fields(settings, document, rows)
