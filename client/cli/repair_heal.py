"""`ringmill repair heal NODE`: what its healing waits for, and the operator's word that it need not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.consent import ask_to_type
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.administration.healing_view import HealingView

__all__ = ["heal"]

HEAL_S = 120.0
LOOK_S = 0.25


@click.command()
@click.argument("node")
@click.option(
    "--accept-data-loss",
    "accepts_loss",
    is_flag=True,
    help="heal without the owners that cannot help; what they alone had is lost",
)
@click.option(
    "--without",
    "names",
    metavar="NODE",
    multiple=True,
    help="heal without this owner alone, and wait for the others; may be repeated",
)
@click.option("--yes", is_flag=True, help="do not ask")
@click.pass_obj
def heal(settings: Settings, node: str, accepts_loss: bool, names: tuple[str, ...], yes: bool) -> ExitCode:
    """Show which partitions of NODE cannot be filled from their other owners now, and whom they wait for.

    Bring these owners back if you can.  If they are gone permanently, or have lost the same keys,
    --accept-data-loss fills NODE from the owners that are left and what survived on it, and waits for the
    end (--timeout).  Where no other owner is left, and one may still have the keys, name all that NODE is
    not to wait for by --without.
    """
    if names and not accepts_loss:
        raise InvalidArgument("--without gives up what these owners have", hint="add --accept-data-loss")
    view = asyncio.run(_ask_healing(settings, node))
    if not accepts_loss or not view.waiting:
        _show(settings, view)
        return ExitCode.DONE
    _check_named(view, names)
    refusal = InvalidArgument(f"{node} goes on waiting", hint="--yes accepts the loss without asking")
    ask_to_type(settings, _story(view, names), word=node, to="accept this loss", yes=yes, refusal=refusal)
    view = asyncio.run(_heal(settings, node, view, names))
    _show(settings, view)
    return ExitCode.TIMED_OUT_WAITING if view.unfilled else ExitCode.DONE


async def _ask_healing(settings: Settings, node: str) -> HealingView:
    async with open_client(settings) as db:
        return await db.members.healing(node)


def _check_named(view: HealingView, names: tuple[str, ...]) -> None:
    """Raise InvalidArgument when a partition would be filled from nobody, and an owner that may have it was
    not named: it may be back in a moment, or only be out of the node's reach.

    The hint has all that are waited for: those that were not named would be waited for as ever."""
    if names or not view.alone or not (view.silent or view.in_doubt):
        return
    named = " ".join(f"--without {each}" for each in view.missing)
    why = [f"{', '.join(view.silent)} does not answer"] if view.silent else []
    why += [f"{view.node} does not reach {', '.join(view.in_doubt)}, or not yet"] if view.in_doubt else []
    raise InvalidArgument(
        f"{', '.join(why)}, and no other owner is left of {len(view.alone)} partitions",
        hint=f"bring what is whole back within reach of {view.node}; or name all that it is not to wait for, "
        f"and what they have is lost: {named}",
    )


async def _heal(settings: Settings, node: str, plan: HealingView, names: tuple[str, ...]) -> HealingView:
    """Only for what was shown: owners that other partitions wait for meanwhile are waited for, unless they
    were named."""
    until = time.monotonic() + (settings.timeout or HEAL_S)
    async with open_client(settings) as db:
        view, known = await db.members.heal_without(node, names or plan.missing), {*plan.waiting}
        while view.unfilled and time.monotonic() < until and not set(view.missing) - set(plan.missing):
            await asyncio.sleep(LOOK_S)
            view = await db.members.healing(node)
            named = sorted({*names}.intersection(view.missing))
            if named and not known.issuperset(view.waiting):  # those had not been tried when it was told
                known.update(view.waiting)
                view = await db.members.heal_without(node, named)
        return view


def _story(view: HealingView, names: tuple[str, ...] = ()) -> list[str]:
    missing = ", ".join(view.missing) or "another owner"
    given_up = ", ".join(names) or missing
    return [
        f"{view.node}: {len(view.waiting)} of its {view.unfilled} damaged or empty partitions wait for "
        f"{missing}, which cannot help now",
        f"they have about {view.keys:,} keys; what may be lost of these: what only {view.node} and "
        f"{given_up} had, acknowledged writes, too; deleted keys may come back, registers may go back",
        *([f"of {len(view.alone)} of them no other owner can help"] if view.alone else []),
    ]


def _show(settings: Settings, view: HealingView) -> None:
    if settings.output == "json":
        document: dict[str, Any] = {
            "node": view.node,
            "unfilled": view.unfilled,
            "waiting": {str(number): list(owners) for number, owners in view.waiting.items()},
            "keys": view.keys,
            "alone": list(view.alone),
            "silent": list(view.silent),
            "in_doubt": list(view.in_doubt),
        }
        output.show(settings, document, (), ())
    elif not view.unfilled:
        click.echo(f"{view.node} has nothing that is to be healed")
    elif not view.waiting:
        click.echo(f"{view.node} heals {view.unfilled} partitions now")
    else:
        for line in _story(view):
            click.echo(line)
        output.next_command(settings, f"ringmill repair heal {view.node} --accept-data-loss")
