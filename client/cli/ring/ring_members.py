"""`ringmill cluster add`, `remove` and `rebalance`: shows the plan, asks, has it decided, and follows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from ringmill.client.administration.member_plans import check_fillable, check_made
from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.connecting import open_client
from ringmill.client.cli.frame.consent import ask_to_type
from ringmill.client.cli.frame.settings import Settings
from ringmill.client.cli.ring.ring_moves import follow, moves_document
from ringmill.client.cli.ring.ring_plan import parts_of, plan_document, plan_story, weights_of
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import load_cluster
from ringmill.client.local.newcomers import next_node, start_newcomer, stop_and_forget
from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["add", "rebalance", "remove"]

_START_S = 30.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A change of the members, as `db.ring.plan` takes it, and the word that says yes to it."""

    word: str
    to: str
    changes: dict[str, Any]
    dead: tuple[str, ...] = ()
    is_dry: bool = False
    yes: bool = False
    waits: bool = True
    story: list[str] = field(default_factory=list)


_DRY = click.option("--dry-run", "is_dry", is_flag=True, help="show the plan and change nothing")
_YES = click.option("--yes", is_flag=True, help="do not ask")
_NO_WAIT = click.option("--no-wait", is_flag=True, help="return once it is decided, while partitions move")


@click.command()
@click.argument("node", required=False)
@click.option("--at", "address", metavar="ADDRESS", help="where the node runs already, on an empty folder")
@click.option("--zone", help="its zone, for a node that is started here")
@_DRY
@_YES
@_NO_WAIT
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
    asked = _Asked(name, f"add {name}", {"add": {name: at}}, is_dry=is_dry, yes=yes, waits=not no_wait)
    if not _agreed(settings, asked):
        return
    begun = fresh is not None and start_newcomer(settings.cluster_folder, fresh, settings.timeout or _START_S)
    _carry_out(settings, asked, starts=name if begun else "")


@click.command()
@click.argument("node")
@click.option("--dead", is_flag=True, help="its disk is gone: nobody waits for it")
@_DRY
@_YES
@_NO_WAIT
@click.pass_obj
def remove(settings: Settings, node: str, dead: bool, is_dry: bool, yes: bool, no_wait: bool) -> None:
    """Move all partitions of NODE to the others, and take it out of the cluster.

    A node of a local cluster is stopped then, and its data is kept.
    """
    asked = _Asked(
        node,
        f"remove {node}",
        {"remove": [node]},
        dead=(node,) if dead else (),
        is_dry=is_dry,
        yes=yes,
        waits=not no_wait,
    )
    if _agreed(settings, asked):
        _carry_out(settings, asked)
        if asked.waits and not settings.endpoints:
            asyncio.run(_known_without(settings))
            _stop(settings, node)


@click.command()
@click.option("--weight", multiple=True, metavar="ID=N", help="another share beside the other nodes'")
@click.option("--zone", multiple=True, metavar="ID=ZONE", help="another zone: what may fail at once")
@_DRY
@_YES
@_NO_WAIT
@click.pass_obj
def rebalance(
    settings: Settings, weight: Sequence[str], zone: Sequence[str], is_dry: bool, yes: bool, no_wait: bool
) -> None:
    """Give members other weights or zones, or move what is out of balance."""
    changes = {"weights": weights_of(weight), "zones": dict(parts_of("--zone", zone, 2))}
    asked = _Asked("rebalance", "move partitions", changes, is_dry=is_dry, yes=yes, waits=not no_wait)
    if _agreed(settings, asked):
        _carry_out(settings, asked)


def _agreed(settings: Settings, asked: _Asked) -> bool:
    """Whether to go on: somebody has seen the plan and said yes.  Raises InvalidArgument else."""
    plan = asyncio.run(_plan(settings, asked.changes))
    if asked.is_dry:
        if settings.output == "json":
            output.show(settings, plan_document(plan), (), ())
        else:
            for line in plan_story(plan):
                click.echo(line)
        return False
    check_fillable(plan)
    refusal = InvalidArgument("nothing was changed", hint="--yes changes it without asking")
    ask_to_type(settings, plan_story(plan), word=asked.word, to=asked.to, yes=asked.yes, refusal=refusal)
    return True


async def _plan(settings: Settings, changes: dict[str, Any]) -> Any:
    async with open_client(settings) as db:
        return await db.ring.plan(**changes)


def _carry_out(settings: Settings, asked: _Asked, starts: str = "") -> None:
    """`starts`: a node that was begun for this, and is stopped again when the change is refused."""
    begun = time.perf_counter()
    try:
        made, before = asyncio.run(_change(settings, asked))
    except RingmillError as error:
        if starts and error.outcome == "failed":
            _stop(settings, starts)
        raise
    if not asked.waits:
        if settings.output == "json":
            output.show(settings, {"epoch": made.epoch, "changed": made.changed}, (), ())
        else:
            click.echo(f"decided in epoch {made.epoch}; partitions move now")
        output.next_command(settings, "ringmill cluster moves --follow")
        return
    view = asyncio.run(follow(settings, before))
    asyncio.run(_check_made(settings, asked))
    took_s = time.perf_counter() - begun
    if settings.output == "json":
        document = {**moves_document(view), "changed": made.changed, "seconds": round(took_s, 3)}
        output.show(settings, document, (), ())
    else:
        click.echo(f"{asked.to}: done in {took_s:.1f} s, epoch {view.epoch}")
    output.next_command(settings, "ringmill ring show")


async def _change(settings: Settings, asked: _Asked) -> tuple[Any, Mapping[str, int]]:
    """What was decided, and what each node had read for moves before."""
    async with open_client(settings) as db:
        before = (await db.members.moves()).read_bytes
        return await db.members.change(**asked.changes, dead=asked.dead), before


async def _check_made(settings: Settings, asked: _Asked) -> None:
    """Raise Conflict when nothing moves any more and the members are as before."""
    async with open_client(settings) as db:
        shown = await db.ring.show()
    states: dict[str, str] = {member.id: member.state for member in shown.topology.members}
    check_made(states, asked.changes.get("add", ()), asked.changes.get("remove", ()))


async def _known_without(settings: Settings) -> None:
    """Return once a majority of the voters holds the newest document: a node that has left knows it first."""
    async with open_client(settings) as db:
        await db.members.resume_moves()


def _stop(settings: Settings, name: str) -> None:
    """Stop a node that is no member, and forget it."""
    if load_cluster(settings.cluster_folder) is None:
        return
    try:
        stop_and_forget(settings.cluster_folder, name)
    except RingmillError as error:
        output.note(f"{name} is no member, and its process was not stopped: {error.message}")
