"""`ringmill backup list`, `delete` and `prune`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from ringmill.client.cli.backup.opened_store import moment, opened_store, place_argument
from ringmill.client.cli.console import output
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.failure_text import FileFailed
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, ProtocolMismatch, RingmillError

if TYPE_CHECKING:
    from ringmill.client.backups.backup_manifest import BackupManifest
    from ringmill.client.backups.backup_store import BackupStore

__all__ = ["delete", "list_backups", "prune"]

_COLUMNS = ("NAME", "BEGAN", "CLUSTER", "NODES", "MISSING", "HOLDS W", "TABLES", "BYTES")


@click.command("list")
@place_argument
@click.pass_obj
def list_backups(settings: Settings, place: str) -> ExitCode:
    """List the backups in the folder or at the URL.

    Names those that cannot be read behind the others, and exits with 1 when there is one.
    """
    with opened_store(place) as store:
        store.check_is_there()
        found, unread = asyncio.run(_all_read(store))
    document: list[dict[str, Any]] = [
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
    document += [
        {"name": name, "error": {"code": error.code, "message": error.message}}
        for name, error in unread.items()
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
    for name, error in unread.items():
        output.note(f"{name} cannot be read: {error.message}")
    return ExitCode.FAILED if unread else ExitCode.DONE


async def _all_read(store: BackupStore) -> tuple[list[BackupManifest], dict[str, RingmillError]]:
    """The backups that can be read, and why each other one cannot: damaged, by a strange name, or no file."""
    found: list[BackupManifest] = []
    unread: dict[str, RingmillError] = {}
    for name in await store.names():
        try:
            found.append(await store.read(name))
        except NotFound:  # deleted since
            continue
        except (CorruptData, ProtocolMismatch, InvalidArgument) as error:
            unread[name] = error
        except OSError as error:
            unread[name] = FileFailed.of(error)
    return found, unread


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
        store.check_is_there()
        pruned = asyncio.run(store.prune())
    document = {"tables": pruned.tables, "bytes": pruned.size_bytes}
    output.fields(settings, document, [("deleted", f"{pruned.tables} tables of {pruned.size_bytes:,} bytes")])
