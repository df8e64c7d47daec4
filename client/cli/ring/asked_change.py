"""A change of the members that was typed: the plan is shown, somebody agrees, it is decided, and followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from ringmill.client.administration.member_plans import check_fillable, check_made, check_settled
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.consent import ask_to_type
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring.ring_moves import follow, moves_document
from ringmill.client.cli.ring.ring_plan import plan_document, plan_story
from ringmill.client.local.local_state import load_cluster
from ringmill.client.local.newcomers import stop_and_forget, take_back
from ringmill.cluster.errors import Conflict, InvalidArgument, RingmillError

__all__ = ["DRY", "NO_WAIT", "START_S", "YES", "AskedChange", "agreed", "carry_out", "take_away"]

START_S: Final = 30.0  # for a node that is started for the change

DRY = click.option("--dry-run", "is_dry", is_flag=True, help="show the plan and change nothing")
YES = click.option("--yes", is_flag=True, help="do not ask")
NO_WAIT = click.option("--no-wait", is_flag=True, help="return once it is decided, while partitions move")


@dataclass(frozen=True, slots=True)
class AskedChange:
    """A change of the members, as `db.ring.plan` takes it, and the word that says yes to it."""

    word: str
    to: str
    changes: dict[str, Any]
    dead: tuple[str, ...] = ()
    is_dry: bool = False
    yes: bool = False
    waits: bool = True


def agreed(settings: Settings, asked: AskedChange) -> bool:
    """Whether to go on: somebody has seen the plan and said yes.

    Raises InvalidArgument else, and Conflict when a node is to come while partitions move.
    """
    plan = asyncio.run(_plan(settings, asked))
    if asked.is_dry:
        if settings.output == "json":
            output.show(settings, plan_document(plan), (), ())
        else:
            for line in plan_story(plan):
                click.echo(line)
        return False
    check_fillable(plan)
    if asked.changes.get("add") or asked.changes.get("replace"):
        check_settled(plan)  # before a node is started for it
    refusal = InvalidArgument("nothing was changed", hint="--yes changes it without asking")
    ask_to_type(settings, plan_story(plan), word=asked.word, to=asked.to, yes=asked.yes, refusal=refusal)
    return True


async def _plan(settings: Settings, asked: AskedChange) -> Any:
    async with open_client(settings) as db:
        return await db.ring.plan(**asked.changes, dead=asked.dead)


def carry_out(settings: Settings, asked: AskedChange, starts: str = "") -> None:
    """`starts`: a node that was begun for this; when the change is refused, nothing of it is left."""
    begun = time.perf_counter()
    try:
        made, before = asyncio.run(_change(settings, asked))
    except RingmillError as error:
        if starts and error.outcome == "failed":
            _take_back(settings, starts)
        raise
    if not asked.waits:
        if settings.output == "json":
            output.show(settings, {"epoch": made.epoch, "changed": made.changed}, (), ())
        else:
            click.echo(f"decided in epoch {made.epoch}; partitions move now")
        output.next_command(settings, "ringmill cluster moves --follow")
        return
    try:
        view = asyncio.run(follow(settings, before))
        _check_made(settings, asked)
    except Conflict:  # it was given up: the members are as before
        raise
    except RingmillError as error:
        raise _went_on(error, f"decided in epoch {made.epoch}; partitions move on") from error
    took_s = time.perf_counter() - begun
    if settings.output == "json":
        document = {**moves_document(view), "changed": made.changed, "seconds": round(took_s, 3)}
        output.show(settings, document, (), ())
    else:
        click.echo(f"{asked.to}: done in {took_s:.1f} s, epoch {view.epoch}")
    output.next_command(settings, "ringmill ring show")


async def _change(settings: Settings, asked: AskedChange) -> tuple[Any, Mapping[str, int]]:
    """What was decided, and what each node had read for moves before."""
    async with open_client(settings) as db:
        before = (await db.members.moves()).read_bytes
        return await db.members.change(**asked.changes, dead=asked.dead), before


def _check_made(settings: Settings, asked: AskedChange) -> None:
    """Raise Conflict when nothing moves any more and the members are as before."""
    replaced = asked.changes.get("replace", {})
    coming = [*asked.changes.get("add", ()), *(heir for heir, _ in replaced.values())]
    states = asyncio.run(_member_states(settings))
    check_made(states, coming, [*asked.changes.get("remove", ()), *replaced])


async def _member_states(settings: Settings) -> dict[str, str]:
    """The state of each member."""
    async with open_client(settings) as db:
        shown = await db.ring.show()
    return {member.id: member.state for member in shown.topology.members}


def take_away(settings: Settings, node: str) -> None:
    """Stop the process of a local node that has left, once the others know that it has; its folder stays."""
    if not settings.endpoints:
        try:
            asyncio.run(_known_without(settings))
        except RingmillError as error:
            raise _went_on(error, f"{node} has left; its process was not stopped") from error
        _stop(settings, node)


def _went_on(error: RingmillError, changed: str) -> RingmillError:
    """The error of what came after a change that was made."""
    twin = error.with_outcome("unknown")
    twin.detail["changed"] = changed
    twin.hint = "`ringmill cluster moves --follow` waits for the end; " + (
        "`ringmill cluster stop NODE` then ends a local node that has left"
    )
    return twin


async def _known_without(settings: Settings) -> None:
    """Return once a majority of the voters holds the newest document: a node that has left knows it first."""
    async with open_client(settings) as db:
        await db.members.resume_moves()


def _take_back(settings: Settings, name: str) -> None:
    """Undo the start of a newcomer, unless another command has made it a member meanwhile."""
    try:
        if name not in asyncio.run(_member_states(settings)):
            take_back(settings.cluster_folder, name)
    except RingmillError as error:
        output.note(f"{name} was started for this, and was not taken back: {error.message}")


def _stop(settings: Settings, name: str) -> None:
    """Stop a node that is not a member, and forget it."""
    if load_cluster(settings.cluster_folder) is None:
        return
    try:
        stop_and_forget(settings.cluster_folder, name)
    except RingmillError as error:
        output.note(f"{name} is not a member, and its process was not stopped: {error.message}")
