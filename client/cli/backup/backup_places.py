"""`ringmill backup list`, `delete` and `prune`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ringmill.client.cli.backup.opened_store import moment, opened_store, place_argument
from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.settings import Settings

if TYPE_CHECKING:
    from ringmill.client.backups.backup_manifest import BackupManifest
    from ringmill.client.backups.backup_store import BackupStore

__all__ = ["delete", "list_backups", "prune"]

_COLUMNS = ("NAME", "BEGAN", "CLUSTER", "NODES", "MISSING", "HOLDS W", "TABLES", "BYTES")


@click.command("list")
@place_argument
@click.pass_obj
def list_backups(settings: Settings, place: str) -> None:
    """List the backups in the folder or at the URL."""

    async def read(store: BackupStore) -> list[BackupManifest]:
        return [await store.read(name) for name in await store.names()]

    with opened_store(place) as store:
        found = asyncio.run(read(store))
    document = [
        {
            "name": each.name,
            "cluster": each.topology.cluster,
            "cluster_name": each.topology.name,
            "epoch": each.topology.epoch,
            "began_ms": each.began_ms,
            "ended_ms": each.ended_ms,
            "nodes": [node.node for node in each.nodes],
            "missing": list(each.missing),
            "holds_w": each.holds_w,
            "keyspaces": [keyspace.name for keyspace in each.topology.keyspaces],
            "tables": len(each.tables()),
            "bytes": each.size_bytes,
        }
        for each in found
    ]
    rows = [
        (
            each.name,
            moment(each.began_ms),
            each.topology.name,
            len(each.nodes),
            ", ".join(each.missing),
            each.holds_w,
            len(each.tables()),
            each.size_bytes,
        )
        for each in found
    ]
    output.show(settings, document, _COLUMNS, rows)


@click.command()
@place_argument
@click.argument("name")
@click.pass_obj
def delete(settings: Settings, place: str, name: str) -> None:
    """Delete the backup NAME.  `ringmill backup prune` then deletes the tables that no other one needs."""
    with opened_store(place) as store:
        asyncio.run(store.delete(name))
    output.fields(settings, {"deleted": name}, [("deleted", name)])


@click.command()
@place_argument
@click.pass_obj
def prune(settings: Settings, place: str) -> None:
    """Delete the tables that no backup names.  Make no backup there meanwhile."""
    with opened_store(place) as store:
        pruned = asyncio.run(store.prune())
    document = {"tables": pruned.tables, "bytes": pruned.size_bytes}
    output.fields(settings, document, [("deleted", f"{pruned.tables} tables of {pruned.size_bytes:,} bytes")])
