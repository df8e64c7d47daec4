"""`ringmill cluster add`, `remove` and `rebalance`: who comes, who goes, and who has how much."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ringmill.client.cli.console.pairs import parts_of
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring.asked_change import (
    DRY,
    NO_WAIT,
    START_S,
    YES,
    AskedChange,
    agreed,
    carry_out,
    take_away,
)
from ringmill.client.cli.ring.ring_plan import weights_of
from ringmill.client.local import local_cluster
from ringmill.client.local.newcomers import next_node, start_newcomer
from ringmill.cluster.errors import InvalidArgument

__all__ = ["add", "rebalance", "remove"]


@click.command()
@click.argument("node", required=False)
@click.option("--at", "address", metavar="ADDRESS", help="where the node runs already, on an empty folder")
@click.option("--zone", help="its zone; with --at by default the one that it tells")
@DRY
@YES
@NO_WAIT
@click.pass_obj
def add(
    settings: Settings,
    node: str | None,
    address: str | None,
    zone: str | None,
    is_dry: bool,
    yes: bool,
    no_wait: bool,
) -> None:
    """Add a node, and move partitions to it until all have their share.

    In a local cluster it starts NODE, by default the next one.  With --at, or --endpoints, NODE runs already.
    Reads and writes go on.  Whatever is killed meanwhile, the moves go on from where they are.
    """
    if settings.endpoints and not (node and address):
        raise InvalidArgument(
            "a node of another machine is added by its id and its address",
            hint="ringmill cluster add NODE --at HOST:PORT --endpoints ...",
        )
    there = None if address else local_cluster.required_cluster(settings.cluster_folder)
    fresh = None if there is None else next_node(there, node, zone)
    name, at = (node, address) if fresh is None else (fresh.id, fresh.address)
    if not (name and at):
        raise InvalidArgument("--at says where NODE runs: name the node, too")
    changes: dict[str, dict[str, str]] = {"add": {name: at}}
    if its_zone := zone if fresh is None else fresh.zone:
        changes["zones"] = {name: its_zone}
    asked = AskedChange(name, f"add {name}", changes, is_dry=is_dry, yes=yes, waits=not no_wait)
    if not agreed(settings, asked):
        return
    begun = fresh is not None and start_newcomer(settings.cluster_folder, fresh, settings.timeout or START_S)
    carry_out(settings, asked, starts=name if begun else "")


@click.command()
@click.argument("node")
@click.option("--dead", is_flag=True, help="its disk is gone: nobody waits for it")
@DRY
@YES
@NO_WAIT
@click.pass_obj
def remove(settings: Settings, node: str, dead: bool, is_dry: bool, yes: bool, no_wait: bool) -> None:
    """Move all partitions of NODE to the others, and take it out of the cluster.

    A node of a local cluster is stopped then, and its data is kept.
    """
    asked = AskedChange(
        node,
        f"remove {node}",
        {"remove": [node]},
        dead=(node,) if dead else (),
        is_dry=is_dry,
        yes=yes,
        waits=not no_wait,
    )
    if agreed(settings, asked):
        carry_out(settings, asked)
        if asked.waits:
            take_away(settings, node)


@click.command()
@click.option("--weight", multiple=True, metavar="ID=N", help="another share beside the other nodes'")
@click.option("--zone", multiple=True, metavar="ID=ZONE", help="another zone: what may fail at once")
@DRY
@YES
@NO_WAIT
@click.pass_obj
def rebalance(
    settings: Settings, weight: Sequence[str], zone: Sequence[str], is_dry: bool, yes: bool, no_wait: bool
) -> None:
    """Give members other weights or zones, or move what is out of balance."""
    changes = {"weights": weights_of(weight), "zones": dict(parts_of("--zone", zone))}
    asked = AskedChange("rebalance", "move partitions", changes, is_dry=is_dry, yes=yes, waits=not no_wait)
    if agreed(settings, asked):
        carry_out(settings, asked)
