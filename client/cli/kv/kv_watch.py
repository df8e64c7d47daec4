"""`ringmill watch`: prints what a key holds, or the keys of a prefix, again at each change."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import click

from ringmill.client.arguments import level_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.kv.fields import field_of
from ringmill.client.cli.kv.kv_arguments import context_of, key_of, keyspace_option
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from ringmill.client.kv import AsyncKeyspace
    from ringmill.client.values import KeyChange

__all__ = ["watch", "watch_key"]


@click.command()
@click.argument("key", required=False)
@click.option("--prefix", metavar="P", help="all keys that begin with P, in place of KEY")
@click.option(
    "--after",
    metavar="TOKEN",
    help="continue after this context (KEY) or cursor (--prefix), as -o json prints it",
)
@click.option("--from-now", is_flag=True, help="with --prefix: skip what the keys hold already")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="end after N changes")
@click.option("-r", "r", metavar="LEVEL", help="owners that must answer: a number, one, quorum or all")
@keyspace_option
@click.pass_obj
def watch(
    settings: Settings,
    key: str | None,
    prefix: str | None,
    after: str | None,
    from_now: bool,
    count: int | None,
    r: str | None,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Print what KEY holds, and again whenever that changes, until Ctrl-C.  -o json prints a line a change.

    With --prefix, do so for all keys that begin with P.  Changes that come close together may be shown as
    one.
    """
    if (key is None) is (prefix is None):
        raise InvalidArgument(
            "give a KEY or --prefix P, one of the two", hint="`ringmill watch --prefix user:`"
        )
    if from_now and prefix is None:
        raise InvalidArgument(
            "--from-now needs --prefix: `ringmill watch KEY --after CONTEXT` skips what is seen"
        )
    if prefix is None:
        watch_key(settings, key or "", keyspace, r=r, is_hex=is_hex, after=after, count=count)
        return
    name, level = key_of(prefix, is_hex), None if r is None else level_named(r, "r")

    def changes_in(space: AsyncKeyspace) -> AsyncIterator[KeyChange]:
        return space.watch_prefix(name, after=after, from_now=from_now, r=level)

    def show(change: KeyChange) -> None:
        _show(settings, change, is_hex, is_named=True)

    asyncio.run(_follow(settings, keyspace, changes_in, show, count))


def watch_key(
    settings: Settings,
    key: str,
    keyspace: str,
    *,
    r: str | None,
    is_hex: bool,
    after: str | None = None,
    count: int | None = None,
) -> None:
    """What `watch KEY` does.  Raises InvalidArgument for a key, level or context that is none."""
    name, level = key_of(key, is_hex), None if r is None else level_named(r, "r")
    context = context_of(after, no_context=False)

    def changes_in(space: AsyncKeyspace) -> AsyncIterator[KeyChange]:
        return space.watch(name, after=context, r=level)

    def show(change: KeyChange) -> None:
        _show(settings, change, is_hex, is_named=False)

    asyncio.run(_follow(settings, keyspace, changes_in, show, count))


async def _follow(
    settings: Settings,
    keyspace: str,
    changes_in: Callable[[AsyncKeyspace], AsyncIterator[KeyChange]],
    show: Callable[[KeyChange], None],
    count: int | None,
) -> None:
    """Show each change until Ctrl-C, or until `count` were shown."""
    async with open_client(settings) as db:
        space = db if keyspace == "default" else db.keyspace(keyspace)
        changes = cast("AsyncGenerator[KeyChange, None]", changes_in(space))
        shown = 0
        async with aclosing(changes):
            async for change in changes:
                show(change)
                shown += 1
                if shown == count:
                    return


def _show(settings: Settings, change: KeyChange, is_hex: bool, *, is_named: bool) -> None:
    """One change, at once, though nobody may read on a terminal; with the name of its key if `is_named`."""
    if settings.output == "json":
        print(output.to_json(change.to_dict(), sys.stdout), flush=True)
    elif is_named:
        _show_named(settings, change, is_hex)
    else:
        _show_values(settings, change, is_hex)


def _show_named(settings: Settings, change: KeyChange, is_hex: bool) -> None:
    name = change.key.hex() if is_hex else field_of(change.key)
    if change.item is None:
        print(f"{name}\t{output.paint(settings, '(deleted)', 'dim')}", flush=True)
        return
    for value in change.item.siblings:
        print(f"{name}\t{value.hex() if is_hex else field_of(value)}", flush=True)


def _show_values(settings: Settings, change: KeyChange, is_hex: bool) -> None:
    if change.item is None:
        print(output.paint(settings, "(deleted)", "dim"), flush=True)
        return
    for value in change.item.siblings:
        if is_hex:
            print(value.hex(), flush=True)
        elif settings.is_terminal:
            print(printable(output.text_of(value)), flush=True)
        else:
            output.write_bytes(value + b"\n")
