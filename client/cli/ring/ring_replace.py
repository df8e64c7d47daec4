"""`ringmill cluster replace`: a new disk of the same node, or another node in the place of a member."""

from __future__ import annotations

import click

from ringmill.client.cli.console.pairs import parts_of
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring.asked_change import START_S, AskedChange, agreed, carry_out, take_away
from ringmill.client.cli.ring.disk_replacement import replace_disk
from ringmill.client.cli.ring.heirs import heirs_of, local_heir
from ringmill.client.local.newcomers import start_newcomer
from ringmill.cluster.errors import InvalidArgument

__all__ = ["replace"]


@click.command()
@click.argument("node", metavar="NODE[=NEW[=ADDRESS]]")
@click.option("--dry-run", is_flag=True, help="show the plan and change nothing")
@click.option(
    "--accept-data-loss",
    "accepts_loss",
    is_flag=True,
    help="also when other owners are gone or damaged, and acknowledged writes may be lost",
)
@click.option("--dead", is_flag=True, help="with NODE=NEW: the disk of NODE is gone, and nobody waits for it")
@click.option("--yes", is_flag=True, help="do not ask")
@click.option("--no-wait", is_flag=True, help="with NODE=NEW: return once it is decided")
@click.pass_obj
def replace(
    settings: Settings, node: str, dry_run: bool, accepts_loss: bool, dead: bool, yes: bool, no_wait: bool
) -> None:
    """Give NODE, which lost its disk, its place back on the new and empty disk that it runs on.

    Its former disk is refused from then on.  The other owners fill the new one, and until then it answers for
    nothing.

    NODE=NEW puts the node NEW in the place of the member NODE: its partitions move, and nothing else does.
    Then NODE is not a member.  In a local cluster NEW is started, and NODE is stopped.  NODE=NEW=ADDRESS
    takes a node that runs already, on an empty data folder.
    """
    if "=" in node:
        if accepts_loss:
            raise InvalidArgument("--accept-data-loss is for NODE on a new disk, not for NODE=NEW")
        _replace_member(settings, node, is_dead=dead, is_dry=dry_run, yes=yes, waits=not no_wait)
        return
    if dead or no_wait:
        raise InvalidArgument(
            f"--{'dead' if dead else 'no-wait'} needs NODE=NEW, the node that takes its place"
        )
    replace_disk(settings, node, is_dry=dry_run, accepts_loss=accepts_loss, yes=yes)


def _replace_member(
    settings: Settings, pair: str, *, is_dead: bool, is_dry: bool, yes: bool, waits: bool
) -> None:
    """`pair` is NODE=NEW, or NODE=NEW=ADDRESS for a node that runs already.

    A new node of a local cluster is started for it, and nothing of it is left when the change is refused; the
    former one is stopped when it has left, and its folder stays.  Raises InvalidArgument.
    """
    ((node, heir, *address),) = parts_of("NODE", [pair], "NODE=NEW[=ADDRESS]")
    asked = AskedChange(
        node,
        f"replace {node} by {heir}",
        {"replace": heirs_of(settings, [pair])},
        dead=(node,) if is_dead else (),
        is_dry=is_dry,
        yes=yes,
        waits=waits,
    )
    fresh = None if address else local_heir(settings, node, heir)
    if not agreed(settings, asked):
        return
    begun = fresh is not None and start_newcomer(settings.cluster_folder, fresh, settings.timeout or START_S)
    carry_out(settings, asked, starts=heir if begun else "")
    if waits:
        take_away(settings, node)
