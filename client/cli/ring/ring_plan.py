"""`ringmill ring plan`: what a change of the members would move, and what it would take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.pairs import parts_of
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring.heirs import heirs_of, newcomers_of
from ringmill.client.cli.ring.ring_show import load_document, ranges
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.ring.plans.moving_rate import LEAST_BYTES

if TYPE_CHECKING:
    from ringmill.cluster.ring.plans.topology_plan import Move, TopologyPlan

__all__ = ["plan_document", "plan_ring", "plan_story", "weights_of"]

_COLUMNS = ("NODE", "BEFORE", "AFTER", "FAIR", "BYTES BEFORE", "BYTES AFTER", "SENDS", "TAKES")
_MIB: Final = 1024 * 1024
_PAIRS_SHOWN: Final = 20


@click.command("plan")
@click.option("--add", multiple=True, metavar="ID[=ADDRESS]", help="a node that joins")
@click.option("--remove", multiple=True, metavar="ID", help="a member that leaves")
@click.option(
    "--replace", multiple=True, metavar="ID=NEW[=ADDRESS]", help="a node that takes a member's place"
)
@click.option("--weight", multiple=True, metavar="ID=N", help="another share beside the other nodes'")
@click.option("--zone", multiple=True, metavar="ID=ZONE", help="another zone: what may fail at once")
@click.option("--moves", "lists_moves", is_flag=True, help="list each move")
@click.pass_obj
def plan_ring(
    settings: Settings,
    add: Sequence[str],
    remove: Sequence[str],
    replace: Sequence[str],
    weight: Sequence[str],
    zone: Sequence[str],
    lists_moves: bool,
) -> None:
    """Show which partitions would move if the members changed so, and what that takes; change nothing.

    Each option can be given several times.  Without any, show what is out of balance.
    """
    heirs = heirs_of(settings, replace)
    changes: dict[str, Any] = {
        "add": newcomers_of(settings, add, heirs),
        "remove": list(remove),
        "replace": heirs,
        "weights": weights_of(weight),
        "zones": dict(parts_of("--zone", zone)),
    }
    plan = asyncio.run(_ask(settings, changes))
    if settings.output == "json":
        output.show(settings, plan_document(plan), (), ())
    elif lists_moves:
        columns = ("PARTITION", "FILLS", "LEAVES", "FROM", "BYTES")
        output.show(settings, (), columns, [_move_row(move) for move in plan.moves])
    else:
        output.show(settings, (), _COLUMNS, _rows(plan))
        for line in plan_story(plan):
            output.beside(settings, line)


def plan_story(plan: TopologyPlan) -> list[str]:
    """What a plan means, for people."""
    if not plan.moves:
        return [f"epoch {plan.epoch}: nothing would move", *_unsettled(plan)]
    bytes_too = f"{plan.rate.bytes_per_s / _MIB:.3g} MiB/s, " if plan.size_bytes >= LEAST_BYTES else ""
    rate = f"{bytes_too}{plan.rate.copy_s:.2g} s a copy and {plan.rate.epoch_s:.2g} s an epoch"
    lines = [
        f"epoch {plan.epoch}: {plan.copies} copies of partitions to make, about {plan.size_bytes:,} bytes, "
        f"{plan.seconds:.0f} s at {rate}",
        f"the fullest node has {plan.balance_before:.2f} of its share now, {plan.balance_after:.2f} after",
        f"each partition keeps at least {plan.replicas} copies, and has {plan.replicas_after} after",
        *(
            f"  {each.source} -> {each.joiner}: {each.partitions} partitions, {each.size_bytes:,} bytes"
            for each in plan.traffic[:_PAIRS_SHOWN]
        ),
    ]
    if len(plan.traffic) > _PAIRS_SHOWN:
        lines.append(f"  and {len(plan.traffic) - _PAIRS_SHOWN} more pairs of nodes; -o json has all")
    if plan.short:
        lines.append(
            f"{len(plan.short)} partitions cannot be filled now ({ranges(plan.short)}): to know every "
            f"acknowledged write, {', '.join(plan.missing)} must be up and whole"
        )
    return lines + _unsettled(plan)


def plan_document(plan: TopologyPlan) -> dict[str, Any]:
    """A plan as JSON values."""
    return {
        "epoch": plan.epoch,
        "copies": plan.copies,
        "bytes": plan.size_bytes,
        "seconds": round(plan.seconds, 3),
        "balance": {"before": round(plan.balance_before, 4), "after": round(plan.balance_after, 4)},
        "replicas": {"least": plan.replicas, "after": plan.replicas_after},
        "before": [load_document(load) for load in plan.before],
        "after": [load_document(load) for load in plan.after],
        "traffic": [
            {"from": each.source, "to": each.joiner, "partitions": each.partitions, "bytes": each.size_bytes}
            for each in plan.traffic
        ],
        "moves": [
            dict(zip(("partition", "joiner", "leaver", "from", "bytes"), _move_row(move), strict=True))
            for move in plan.moves
        ],
        "short": list(plan.short),
        "missing": list(plan.missing),
        "unsettled": list(plan.unsettled),
    }


async def _ask(settings: Settings, changes: dict[str, Any]) -> TopologyPlan:
    async with open_client(settings) as db:
        return await db.ring.plan(**changes)


def weights_of(given: Iterable[str]) -> dict[str, int]:
    """The values of --weight.  Raises InvalidArgument."""
    return {node: _whole(node, text) for node, text in parts_of("--weight", given)}


def _whole(node: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidArgument(f"--weight of {node[:80]} is {text[:80]!r}, need a whole number")
    return int(text)


def _rows(plan: TopologyPlan) -> list[tuple[object, ...]]:
    before = {load.node: load for load in plan.before}
    after = {load.node: load for load in plan.after}
    return [
        (
            node,
            before[node].partitions if node in before else 0,
            after[node].partitions if node in after else 0,
            round(after[node].fair, 1) if node in after else 0,
            before[node].size_bytes if node in before else 0,
            after[node].size_bytes if node in after else 0,
            sum(each.size_bytes for each in plan.traffic if each.source == node),
            sum(each.size_bytes for each in plan.traffic if each.joiner == node),
        )
        for node in dict.fromkeys([*before, *after])
    ]


def _move_row(move: Move) -> tuple[object, ...]:
    joiner = None if move.joiner is None else move.joiner.id
    return (int(move.partition), joiner, move.leaver, move.source, move.size_bytes)


def _unsettled(plan: TopologyPlan) -> list[str]:
    if not plan.unsettled:
        return []
    return [f"{len(plan.unsettled)} partitions are moving already and are left out: {ranges(plan.unsettled)}"]
