"""`ringmill watch`: prints what a key holds, again at each change."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import click

from ringmill.client.arguments import level_named
from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.connecting import open_client
from ringmill.client.cli.frame.settings import Settings
from ringmill.client.cli.kv.kv_arguments import context_of, key_of, keyspace_option

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ringmill.client.values import KeyChange

__all__ = ["watch"]


@click.command()
@click.argument("key")
@click.option("--after", metavar="CONTEXT", help="begin with what is newer than this context")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="end after N changes")
@click.option("-r", "r", metavar="LEVEL", help="owners that must answer: a number, one, quorum or all")
@keyspace_option
@click.pass_obj
def watch(
    settings: Settings,
    key: str,
    after: str | None,
    count: int | None,
    r: str | None,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Print what KEY holds, and again whenever that changes, until Ctrl-C.  -o json prints a line a change.

    Changes that come close together may be shown as one.
    """
    name, context = key_of(key, is_hex), context_of(after, no_context=False)
    level = None if r is None else level_named(r, "r")

    async def follow() -> None:
        async with open_client(settings) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            changes = cast("AsyncGenerator[KeyChange, None]", space.watch(name, after=context, r=level))
            shown = 0
            async with aclosing(changes):
                async for change in changes:
                    _show(settings, change, is_hex)
                    shown += 1
                    if shown == count:
                        return

    asyncio.run(follow())


def _show(settings: Settings, change: KeyChange, is_hex: bool) -> None:
    """One change, at once, though nobody may read on a terminal."""
    if settings.output == "json":
        print(output.to_json(change.to_dict(), sys.stdout), flush=True)
        return
    if change.item is None:
        print(output.paint(settings, "(deleted)", "dim"), flush=True)
        return
    for value in change.item.siblings:
        if is_hex:
            print(value.hex(), flush=True)
        elif settings.is_terminal:
            print(output.printable(output.text_of(value)), flush=True)
        else:
            output.write_bytes(value + b"\n")
