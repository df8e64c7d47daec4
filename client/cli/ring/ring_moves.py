"""`ringmill cluster moves`: what moves now; and how verbs that change the members follow it to its end."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument, RingmillError
from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringmill.client.administration.moves_view import MovesView

__all__ = ["FollowedBytes", "follow", "moves", "moves_document"]

_LOOK_S: Final = 0.5
_SHOWN_EVERY: Final = 10  # looks, where there is no terminal
_MIB: Final = 1024 * 1024
_REASONS_SHOWN: Final = 5


@click.command()
@click.option("--pause", is_flag=True, help="begin no further move; what is under way goes on")
@click.option("--resume", is_flag=True, help="go on with what was paused")
@click.option("--abort", is_flag=True, help="give the plan up: partitions stay where they are then")
@click.option("--follow", "follows", is_flag=True, help="wait until nothing moves any more")
@click.pass_obj
def moves(settings: Settings, pause: bool, resume: bool, abort: bool, follows: bool) -> None:
    """Show which seats of partitions are still to change hands, and what that waits for."""
    if pause + resume + abort > 1:
        raise InvalidArgument("--pause, --resume and --abort: one at a time")
    verb = "pause" if pause else "resume" if resume else "abort" if abort else ""
    view = asyncio.run(_steer(settings, verb, follows=follows))
    if settings.output == "json":
        output.show(settings, moves_document(view), (), ())
        return
    for line in _story(view):
        click.echo(printable(line))


class FollowedBytes:
    """What nodes have read since they are followed: a node that starts again counts from 0, and one that has
    left tells nothing any more."""

    def __init__(self, before: Mapping[str, int] | None = None) -> None:
        """`before`: what they had read; None: what they tell at the first call."""
        self._before = None if before is None else dict(before)
        self._read: dict[str, int] = {}

    def since(self, figures: Mapping[str, int]) -> dict[str, int]:
        """The bytes that each node has read since then."""
        before = dict(figures) if self._before is None else self._before
        for node, read in figures.items():
            last = before.get(node, 0)
            self._read[node] = self._read.get(node, 0) + (read - last if read >= last else read)
        self._before = {**before, **figures}
        return dict(self._read)


async def follow(settings: Settings, before: Mapping[str, int] | None = None) -> MovesView:
    """Wait until nothing moves and nobody is on the way in or out, and show how it goes.

    The view that is returned tells what was read since `before`, by default since now.
    """
    async with open_client(settings) as db:
        total, looks, followed = 0, 0, FollowedBytes(before)
        with _bar(settings) as tell:
            while True:
                try:
                    view = await db.members.moves()
                except RingmillError as error:  # a node that was asked may have left meanwhile
                    if looks > 2 * _SHOWN_EVERY:
                        raise
                    looks += 1
                    output.note(f"not told now: {error.message}")
                    await asyncio.sleep(_LOOK_S)
                    continue
                looks = 0
                total = max(total, view.left)
                view = replace(view, read_bytes=followed.since(view.read_bytes))
                tell(view, total)
                if view.is_over:
                    return view
                await asyncio.sleep(_LOOK_S)


def moves_document(view: MovesView) -> dict[str, Any]:
    """A view as JSON values."""
    return {
        "epoch": view.epoch,
        "left": view.left,
        "joint": view.joint,
        "paused": view.is_paused,
        "joining": list(view.joining),
        "leaving": dict(view.leaving),
        "held_back": {str(at): why for at, why in view.held_back.items()},
        "moved_bytes": view.moved_bytes,
        "silent": list(view.silent),
    }


async def _steer(settings: Settings, verb: str, *, follows: bool) -> MovesView:
    async with open_client(settings) as db:
        if verb:
            steer = {
                "pause": db.members.pause_moves,
                "resume": db.members.resume_moves,
                "abort": db.members.abort_moves,
            }[verb]
            await steer()
        if not follows:
            return await db.members.moves()
    return await follow(settings)


@contextmanager
def _bar(settings: Settings) -> Iterator[Callable[[MovesView, int], None]]:
    """A bar on a terminal, now and then a line elsewhere; both on stderr."""
    if not sys.stderr.isatty() or settings.output == "json":
        looks = 0

        def note(view: MovesView, total: int) -> None:
            nonlocal looks
            if settings.output != "json" and (looks % _SHOWN_EVERY == 0 or view.is_over):
                output.note(_line(view, total))
            looks += 1

        yield note
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("moving", total=None)

        def draw(view: MovesView, total: int) -> None:
            progress.update(
                task, total=max(1, total), completed=total - view.left, description=_line(view, total)
            )

        yield draw


def _line(view: MovesView, total: int) -> str:
    waits = f", {min(view.held_back.values())}" if view.held_back else ""
    state = "paused at" if view.is_paused else "moved"
    read = f"{view.moved_bytes / _MIB:.1f} MiB read"
    return f"{state} {total - view.left} of {total} seats, {read}{waits}"


def _waits(held_back: Iterable[str]) -> list[str]:
    """A line for each reason, with its number of partitions.

    What stands in parentheses are the words of single nodes, which differ from try to try: the most frequent
    of them are told.
    """
    words: dict[str, Counter[str]] = {}
    for why in held_back:
        words.setdefault(why.partition(" (")[0], Counter())[why] += 1
    commonest = sorted(words.values(), key=lambda each: -each.total())
    return [
        f"waits: {each.total()} partition{'' if each.total() == 1 else 's'}, {each.most_common(1)[0][0]}"
        for each in commonest[:_REASONS_SHOWN]
    ]


def _story(view: MovesView) -> list[str]:
    if view.is_over:
        return [f"epoch {view.epoch}: nothing moves", *_waits(view.held_back.values())]
    lines = [
        f"epoch {view.epoch}: {view.left} seats of partitions are still to change hands, {view.joint} do now"
        + ("; paused" if view.is_paused else "")
    ]
    lines += [f"{node} is joining" for node in view.joining]
    for node, hints in view.leaving.items():
        owes = f", and has {hints} writes to deliver first" if hints else ""
        lines.append(f"{node} is leaving{owes}")
    lines += _waits(view.held_back.values())
    if view.silent:
        lines.append(f"{', '.join(view.silent)} did not answer")
    return lines
