"""`ringmill cluster replace NODE`: the operator's word that a disk is gone.

It shows the plan and asks before the cluster decides.  The node itself has to run already, on an empty data
folder: the topology names its new disk.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.consent import ask_to_type
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.administration.members import Replacement
    from ringmill.cluster.ring.replacement import ReplacementPlan

__all__ = ["replace_disk"]


def replace_disk(settings: Settings, node: str, *, is_dry: bool, accepts_loss: bool, yes: bool) -> None:
    """Show what it means to give `node` the disk that it runs on now, ask, and have it decided."""
    from ringmill.cluster.ring.replacement import check_safe

    plan = asyncio.run(_plan(settings, node))
    if plan.is_made:
        _tell_made(settings, plan)
        return
    if is_dry:
        _show(settings, plan)
        return
    try:
        check_safe(plan, accepts_loss=accepts_loss)
    except InvalidArgument:
        if settings.output != "json":
            for line in _story(plan):
                output.note(line)
        raise
    refusal = InvalidArgument(f"{node} is left as it is", hint="--yes replaces its disk without asking")
    ask_to_type(settings, _story(plan), word=node, to="give up its former disk", yes=yes, refusal=refusal)
    made = asyncio.run(_replace(settings, node, accepts_loss=accepts_loss))
    _tell(settings, made, is_short=bool(plan.short))


async def _plan(settings: Settings, node: str) -> ReplacementPlan:
    async with open_client(settings) as db:
        return await db.members.plan_replacement(node)


async def _replace(settings: Settings, node: str, *, accepts_loss: bool) -> Replacement:
    async with open_client(settings) as db:
        return await db.members.replace(node, accept_data_loss=accepts_loss)


def _show(settings: Settings, plan: ReplacementPlan) -> None:
    if settings.output == "json":
        output.show(settings, _document(plan), (), ())
        return
    for line in _story(plan):
        click.echo(line)


def _story(plan: ReplacementPlan) -> list[str]:
    lines = [
        f"{plan.node}: disk {plan.disk} takes the place of disk {plan.former}, which is refused from then on",
        f"{plan.partitions} partitions, about {plan.size_bytes:,} bytes, are copied from their other owners",
    ]
    if plan.short:
        lines.append(
            f"{len(plan.short)} of them cannot be filled now: "
            + (f"{', '.join(plan.missing)} must be up and whole" if plan.missing else "nobody else has them")
            + f"; they have about {plan.short_keys:,} keys"
        )
    lines.append(
        f"what may be lost: writes that fewer than {plan.least_w} owners have acknowledged (a lower -w, or "
        "outcome unknown), where the former disk had the only copy"
    )
    return lines


def _document(plan: ReplacementPlan) -> dict[str, Any]:
    return {
        "node": plan.node,
        "former": plan.former,
        "disk": plan.disk,
        "partitions": plan.partitions,
        "bytes": plan.size_bytes,
        "short": list(plan.short),
        "short_keys": plan.short_keys,
        "missing": list(plan.missing),
    }


def _tell_made(settings: Settings, plan: ReplacementPlan) -> None:
    if settings.output == "json":
        output.show(settings, {"node": plan.node, "disk": plan.disk, "changed": False}, (), ())
    else:
        click.echo(f"{plan.node} runs on disk {plan.disk}, which the topology names: nothing to replace")
    output.next_command(settings, "ringmill cluster status")


def _tell(settings: Settings, made: Replacement, *, is_short: bool) -> None:
    if settings.output == "json":
        document = {"node": made.node, "disk": made.disk, "epoch": made.epoch, "changed": made.changed}
        output.show(settings, document, (), ())
    else:
        click.echo(f"{made.node} has disk {made.disk} since epoch {made.epoch}; the other owners fill it now")
    wait = f"repair heal {made.node}" if is_short else "cluster status --wait healthy"
    output.next_command(settings, f"ringmill {wait}")
