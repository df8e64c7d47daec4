"""`ringmill ring diff`: what changed between two epochs of the topology."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring.ring_show import ranges
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from ringmill.cluster.ring.plans.topology_difference import RowChange, TopologyDifference
    from ringmill.cluster.ring.topology import KeyspaceEntry, Member

__all__ = ["diff_epochs", "difference_document", "difference_story"]

_EPOCH: Final = click.IntRange(1, 2**63 - 1)


@click.command("diff")
@click.argument("older", type=_EPOCH, metavar="E1")
@click.argument("newer", type=_EPOCH, metavar="[E2]", required=False)
@click.pass_obj
def diff_epochs(settings: Settings, older: int, newer: int | None) -> None:
    """Show what changed from epoch E1 of the topology to epoch E2, or to the newest one.

    Nodes remember the documents of the last 64 epochs that they have seen, or as many as take 256 KiB.
    """
    found = asyncio.run(_ask(settings, older, newer))
    if settings.output == "json":
        output.show(settings, difference_document(found), (), ())
        return
    for line in difference_story(found):
        click.echo(printable(line))


def difference_story(found: TopologyDifference) -> list[str]:
    """A line for each change; partitions that changed in the same way share one."""
    older, newer = found.older, found.newer
    lines = [f"epoch {older.epoch} to epoch {newer.epoch}"]
    if found.is_another_cluster:
        lines.append(f"  cluster {older.cluster} goes on as {newer.cluster}")
    lines += [f"  + {each.id} joined at {each.address}, zone {each.zone}" for each in found.joined]
    lines += [f"  - {each.id} left" for each in found.left]
    lines += [f"  ~ {before.id}: {_changed(before, after)}" for before, after in found.members]
    lines += [f"  + keyspace {each.name} ({each.kind}) was made" for each in found.made]
    lines += [f"  - keyspace {each.name} was dropped" for each in found.dropped]
    lines += [f"  ~ keyspace {before.name}: {_changed(before, after)}" for before, after in found.keyspaces]
    if found.has_other_voters:
        lines.append(f"  ~ voters: {' '.join(older.voter_nodes)} -> {' '.join(newer.voter_nodes)}")
    alike: dict[str, list[int]] = {}
    for row in found.rows:
        alike.setdefault(_row_story(row), []).append(row.partition)
    lines += [f"  ~ partitions {ranges(alike[story])}: {story} ({len(alike[story])})" for story in alike]
    return lines if len(lines) > 1 else [f"{lines[0]}: nothing changed"]


def difference_document(found: TopologyDifference) -> dict[str, Any]:
    """A difference as JSON values."""
    return {
        "older": found.older.epoch,
        "newer": found.newer.epoch,
        "cluster": [found.older.cluster, found.newer.cluster],
        "joined": [each.id for each in found.joined],
        "left": [each.id for each in found.left],
        "members": {before.id: _fields(before, after) for before, after in found.members},
        "keyspaces_made": [each.name for each in found.made],
        "keyspaces_dropped": [each.name for each in found.dropped],
        "keyspaces": {before.name: _fields(before, after) for before, after in found.keyspaces},
        "voters": [list(found.older.voter_nodes), list(found.newer.voter_nodes)],
        "rows": [
            {
                "partition": row.partition,
                "before": [owner.node for owner in row.before.owners],
                "after": [owner.node for owner in row.after.owners],
                "phase": [row.before.phase, row.after.phase],
            }
            for row in found.rows
        ],
    }


async def _ask(settings: Settings, older: int, newer: int | None) -> TopologyDifference:
    async with open_client(settings) as db:
        return await db.ring.diff(older, newer)


def _fields(before: Member | KeyspaceEntry, after: Member | KeyspaceEntry) -> dict[str, list[Any]]:
    values = {each.name: [getattr(before, each.name), getattr(after, each.name)] for each in fields(before)}
    return {name: pair for name, pair in values.items() if pair[0] != pair[1]}


def _changed(before: Member | KeyspaceEntry, after: Member | KeyspaceEntry) -> str:
    return ", ".join(f"{name} {old} -> {new}" for name, (old, new) in _fields(before, after).items())


def _row_story(row: RowChange) -> str:
    parts = [f"+{node}" for node in row.joined] + [f"-{node}" for node in row.left]
    if row.before.phase != row.after.phase:
        parts.append(f"{row.before.phase} -> {row.after.phase}")
    if not parts:
        had = set(row.before.owners)
        parts = [f"{seat.node} on another disk" for seat in row.after.owners if seat not in had]
    return " ".join(parts) or "another row epoch"
