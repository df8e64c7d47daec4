"""`ringmill backup create URL [NAME]`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from ringmill.client.backups.backup_creation import create_backup
from ringmill.client.cli.backup.opened_store import (
    backup_bar,
    opened_store,
    pace_of,
    place_argument,
    rate_option,
)
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.connection import token_links_of
from ringmill.cluster.adapters.system_clock import SystemClock

if TYPE_CHECKING:
    from ringmill.client.backups.backup_manifest import BackupManifest
    from ringmill.client.backups.backup_progress import BackupProgress

__all__ = ["create"]


@click.command()
@place_argument
@click.argument("name", required=False)
@rate_option
@click.pass_obj
def create(settings: Settings, place: str, name: str | None, rate: str | None) -> None:
    """Make the backup NAME of all keyspaces in the folder or at the URL.

    Without NAME the time is its name.  It holds every write that a majority of its owners acknowledged
    before the command began.  Tables that are there already are not copied again.  A token with the role
    admin is needed.  An interrupted backup does not exist; run the command again.
    """
    name = name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    pace = pace_of(rate)
    with opened_store(place) as store, backup_bar("copying") as progress:

        async def run(name: str) -> BackupManifest:
            async with open_client(settings) as db:
                return await create_backup(
                    db.topology,
                    token_links_of(db),
                    store,
                    name,
                    clock=SystemClock(),
                    pace=pace,
                    progress=progress,
                )

        manifest = asyncio.run(run(name))
    _tell(settings, manifest, progress)


def _tell(settings: Settings, manifest: BackupManifest, progress: BackupProgress) -> None:
    document = {
        "name": manifest.name,
        "epoch": manifest.topology.epoch,
        "began_ms": manifest.began_ms,
        "ended_ms": manifest.ended_ms,
        "holds_w": manifest.holds_w,
        "missing": list(manifest.missing),
        "tables": len(manifest.tables()),
        "bytes": manifest.size_bytes,
        "copied_tables": progress.copied_tables,
        "copied_bytes": progress.copied_bytes,
    }
    rows: list[tuple[str, object]] = [
        ("backup", manifest.name),
        ("holds", f"every write that was acknowledged before it began with w={manifest.holds_w} or more"),
        ("tables", f"{len(manifest.tables())} of {manifest.size_bytes:,} bytes"),
        ("copied", f"{progress.copied_tables} of {progress.copied_bytes:,} bytes"),
    ]
    if manifest.missing:
        rows.append(("without", ", ".join(manifest.missing)))
    output.fields(settings, document, rows)
    if progress.untold:
        output.note(
            f"{', '.join(progress.untold)} run an earlier release, which does not tell whether they keep a "
            "copy that is owed: each counts as one that does"
        )
