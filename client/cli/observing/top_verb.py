"""`ringmill top`: what the nodes do at present, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings, bounded_span_s
from ringmill.client.cli.observing import top_table
from ringmill.cluster.errors import RingmillError

if TYPE_CHECKING:
    from ringmill.client.administration.top_view import TopView
    from ringmill.client.connection import AsyncClient

__all__ = ["top"]

_SHORTEST_S: Final = 0.1
_LONGEST_S: Final = 3600.0


@click.command()
@click.option("--interval", default="2s", metavar="SPAN", help="time between two looks  [2s]")
@click.option("--once", "is_once", is_flag=True, help="show what happens within one interval, and end")
@click.pass_obj
def top(settings: Settings, interval: str, is_once: bool) -> None:
    """Show the rates and latencies of each node, hints, moves, jobs and hot keys, until Ctrl-C.

    All figures are of the time between two looks.  A terminal is drawn anew at each of them; else the rows
    are printed again, and with -o json a document on a line.
    """
    every_s = bounded_span_s("--interval", interval, _SHORTEST_S, _LONGEST_S)
    asyncio.run(_show(settings, every_s, is_once=is_once))


async def _show(settings: Settings, every_s: float, *, is_once: bool) -> None:
    with _shown(settings, is_live=settings.is_terminal and not is_once) as show:
        async with open_client(settings) as db:
            async for view in _views(db, every_s):
                show(view)
                if is_once:
                    return


async def _views(db: AsyncClient, every_s: float) -> AsyncIterator[TopView]:
    """A view after each interval.  Raises what the first look raises; a cluster that falls silent later is
    asked again."""
    from ringmill.client.administration.top_view import top_view

    earlier = await db.metrics()
    while True:
        await asyncio.sleep(every_s)
        try:
            now, status = await asyncio.gather(db.metrics(), db.status())
        except RingmillError as error:
            output.note(f"nobody answers: {error}")
            continue
        hot = None
        with contextlib.suppress(RingmillError):
            hot = await db.hot(status=status)
        yield top_view(status, earlier, now, hot)
        earlier = now


@contextmanager
def _shown(settings: Settings, *, is_live: bool) -> Iterator[Callable[[TopView], None]]:
    """What shows a view; on a terminal it has the whole screen until the end."""
    if not is_live:
        yield lambda view: _print(settings, view)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=settings.no_color, highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:

        def show(view: TopView) -> None:
            live.update(top_table.drawn(view, has_color=settings.has_color), refresh=True)

        yield show


def _print(settings: Settings, view: TopView) -> None:
    if settings.output == "json":
        print(output.to_json(view.to_dict(), sys.stdout), flush=True)
        return
    output.note(top_table.head(view))
    output.show(settings, (), top_table.COLUMNS, [top_table.row(node) for node in view.nodes])
    for line in top_table.lines_below(view):
        output.note(line)
    sys.stdout.flush()
