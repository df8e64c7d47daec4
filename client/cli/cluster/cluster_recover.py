"""`ringmill cluster recover NODE...`: the operator's word that the cluster goes on without these members."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.consent import ask_to_type
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.administration.members import Recovery
    from ringmill.cluster.ring.recovery import RecoveryPlan

__all__ = ["recover"]


@click.command()
@click.argument("lost", nargs=-1, required=True, metavar="NODE...")
@click.option(
    "--accept-data-loss",
    "accepts_loss",
    is_flag=True,
    help="do it; without this option the plan is shown and nothing changed",
)
@click.option("--yes", is_flag=True, help="do not ask")
@click.pass_obj
def recover(settings: Settings, lost: tuple[str, ...], accepts_loss: bool, yes: bool) -> None:
    """Go on without the members NODE..., which are gone permanently.

    They had most of the votes, or are half of the members or more: the others could not serve again.

    The others become a cluster with another id: the disks of NODE... are refused from then on, and nothing of
    them is merged, should they come back.  All other members must be up.
    """
    plan = asyncio.run(_plan(settings, lost))
    if not accepts_loss:
        _show(settings, plan)
        return
    if not plan.is_made:
        refusal = InvalidArgument(
            f"{plan.name} is left as it is", hint="--yes accepts the loss without asking"
        )
        ask_to_type(settings, _story(plan), word=plan.name, to="accept this loss", yes=yes, refusal=refusal)
    _tell(settings, asyncio.run(_recover(settings, lost)))


async def _plan(settings: Settings, lost: tuple[str, ...]) -> RecoveryPlan:
    async with open_client(settings) as db:
        return await db.members.plan_recovery(lost)


async def _recover(settings: Settings, lost: tuple[str, ...]) -> Recovery:
    async with open_client(settings) as db:
        return await db.members.recover(lost)


def _story(plan: RecoveryPlan) -> list[str]:
    if plan.is_made:
        return [f"{plan.name} goes on without {', '.join(plan.lost)} already"]
    stood_in = ", and writes to sloppy keyspaces that they took in place of owners" if plan.is_sloppy else ""
    return [
        f"{plan.name} goes on with {', '.join(plan.left)}, as another cluster; {', '.join(plan.lost)} had "
        f"{plan.lost_voters} of its {plan.voters} votes",
        *(
            f"{node} has {count} partitions that are not filled from others yet: it counts as if it had none"
            for node, count in sorted(plan.unfilled.items())
        ),
        f"{len(plan.gone)} partitions, about {plan.gone_keys:,} keys, have no owner left: they are lost",
        f"{len(plan.short)} partitions, about {plan.short_keys:,} keys, may lack acknowledged writes and "
        "deletes that only the lost members had; registers may go back",
        f"of the others may be lost: writes that fewer than {plan.least_w} owners have acknowledged (a lower "
        f"-w, or outcome unknown), where only the lost members had them{stood_in}",
        "changes of keyspaces, members and access that only the lost members had are lost, too: a token that "
        "was revoked just before may be good again",
    ]


def _show(settings: Settings, plan: RecoveryPlan) -> None:
    if settings.output == "json":
        document: dict[str, Any] = {
            "cluster": plan.name,
            "lost": list(plan.lost),
            "left": list(plan.left),
            "lost_voters": plan.lost_voters,
            "voters": plan.voters,
            "gone": len(plan.gone),
            "gone_keys": plan.gone_keys,
            "short": len(plan.short),
            "short_keys": plan.short_keys,
            "least_w": plan.least_w,
            "is_sloppy": plan.is_sloppy,
            "is_made": plan.is_made,
            "unfilled": dict(plan.unfilled),
        }
        output.show(settings, document, (), ())
        return
    for line in _story(plan):
        click.echo(line)
    if plan.is_made:
        output.next_command(settings, *_replacements(plan.lost))
    else:
        output.next_command(settings, f"ringmill cluster recover {' '.join(plan.lost)} --accept-data-loss")


def _tell(settings: Settings, made: Recovery) -> None:
    if settings.output == "json":
        document = {"cluster": made.cluster, "epoch": made.epoch, "changed": made.changed}
        output.show(settings, document, (), ())
    else:
        click.echo(f"the cluster goes on as {made.cluster}, epoch {made.epoch}")
    output.next_command(settings, *_replacements(made.lost))


def _replacements(lost: Sequence[str]) -> list[str]:
    return [f"ringmill cluster replace {node} --accept-data-loss" for node in lost]
