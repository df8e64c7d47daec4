"""`ringmill repair status` and `run`: how the owners of partitions compare, and comparing them now."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.lazy import LazyGroup, Verb
from ringmill.client.connection import links_of
from ringmill.client.repairs import RepairViews, repair_views, run_repair
from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    RingmillError,
    Unavailable,
    WrongEpoch,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence, Set

    from ringmill.client.connection import AsyncClient
    from ringmill.cluster.ring.topology import Topology
    from ringmill.cluster.wire.stubs.repair_pb2 import ComparedPair, Watermark

__all__ = ["repair", "run", "status"]

RUN_S = 120.0
LOOK_S = 0.5
ASK_S = 5.0
COLUMNS = (
    "NODE", "PAIRS", "EQUAL", "OLDEST", "OWED", "PULLED", "PUSHED", "MOVED", "SENT", "DROPPED",
    "DELETES", "WATERMARK", "FORGOTTEN",
)  # fmt: skip

FIGURES = ("pulled", "pushed", "moved_bytes", "wire_bytes", "hints_dropped")

repair = LazyGroup(
    "repair",
    {
        "status": Verb(
            "ringmill.client.cli.repair_verbs:status",
            "show when owners were last found equal, and what is owed",
        ),
        "run": Verb("ringmill.client.cli.repair_verbs:run", "compare the owners now, and wait for the end"),
        "heal": Verb(
            "ringmill.client.cli.repair_heal:heal",
            "show whom the healing of a node waits for, or accept a loss",
        ),
    },
    "Compare and heal what the owners of partitions hold.  Nodes do both by themselves.",
)

_partitions = click.option(
    "--partition",
    "partitions",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="NUMBER",
    help="only this partition; may be given several times",
)


@click.command()
@_partitions
@click.pass_obj
def status(settings: Settings, partitions: tuple[int, ...]) -> None:
    """Show when owners were last found equal, what is owed to whom, and what holds it back.

    DELETES are deleted keys that are not forgotten yet; WATERMARK is the time up to which all owners have
    proven that deletes may be forgotten.

    In JSON each pair of owners of each partition is listed.
    """

    async def ask() -> RepairViews:
        async with open_client(settings) as db:
            _check_partitions(db.topology, partitions)
            return await repair_views(db.topology, links_of(db), settings.timeout_s)

    _show(settings, asyncio.run(ask()), partitions)


@click.command()
@_partitions
@click.pass_obj
def run(settings: Settings, partitions: tuple[int, ...]) -> ExitCode:
    """Compare the owners of all partitions now, make them equal, and wait for the end (--timeout).

    Deletes that are old enough are forgotten, too, unless nodes run with --purge-after off; this does not
    wait for that.

    Owners that are down are compared when they are up again, without waiting for them here.  The others have
    to answer: exits with 8 when one has not answered in time, and with the code of its error when it refuses.
    """
    return asyncio.run(_run(settings, partitions))


async def _run(settings: Settings, partitions: tuple[int, ...]) -> ExitCode:
    until = time.monotonic() + (settings.timeout or RUN_S)
    timeout_s = min(settings.timeout_s, ASK_S)
    async with open_client(settings) as db:
        _check_partitions(db.topology, partitions)
        due: Set[str] = {str(member.id) for member in db.topology.members}  # those who have not begun
        noted: tuple[int, set[str]] | None = None
        while True:
            failed = await run_repair(db.topology, links_of(db), partitions, timeout_s, due)
            _check_may_run(failed, due)
            answers = await repair_views(db.topology, links_of(db), timeout_s)
            silent = {name for name, answer in answers.items() if isinstance(answer, RingmillError)}
            away = await _away(db, timeout_s) if silent | {*failed} else set()
            due = _due(failed, away, {str(member.id) for member in db.topology.members})
            left, missing = _left(answers, partitions), ({*failed} | silent) - away
            if noted != (left, missing):
                output.note(_progress(left, missing))
                noted = left, missing
            if not (left or missing) or time.monotonic() >= until:
                break
            await asyncio.sleep(LOOK_S)
    _show(settings, answers, partitions)
    return ExitCode.TIMED_OUT_WAITING if left or missing else ExitCode.DONE


def _check_may_run(failed: Mapping[str, RingmillError], asked: Collection[str]) -> None:
    """Raise what a member says for whom asking again is no use."""
    for error in failed.values():
        if not isinstance(error, Unavailable | DeadlineExceeded | Overloaded | WrongEpoch):
            if begun := sorted({*asked} - {*failed}):
                error.detail["changed"] = f"{' '.join(begun)} compare now"
            raise error


def _due(failed: Mapping[str, RingmillError], away: Set[str], members: Set[str]) -> Set[str]:
    """Whom to ask once more: all when one goes by another topology, as another may own what it does not."""
    has_moved = any(isinstance(error, WrongEpoch) for error in failed.values())
    return (members if has_moved else {*failed}) - away


async def _away(db: AsyncClient, timeout_s: float) -> set[str]:
    """The members that the others call down, nobody when none answers; `db` learns the newest topology."""
    try:
        seen = await db.status(timeout=timeout_s)
    except RingmillError:
        return set()
    return {node.id for node in seen.nodes if node.state == "down"}


def _progress(left: int, missing: Collection[str]) -> str:
    waiting = f"; {' '.join(sorted(missing))} did not answer and may be up" if missing else ""
    return f"{left} pairs of owners are still to be compared{waiting}"


def _check_partitions(topology: Topology, partitions: tuple[int, ...]) -> None:
    """Raises InvalidArgument for one that there is not."""
    if partitions and max(partitions) >= len(topology.rows):
        raise InvalidArgument(f"there are {len(topology.rows)} partitions, from 0 on")


def _left(answers: RepairViews, partitions: tuple[int, ...]) -> int:
    """Pairs that are owed between nodes that answer."""
    views = [answer for answer in answers.values() if not isinstance(answer, RingmillError)]
    living = {view.node for view in views}
    return sum(
        pair.owed and pair.other in living and (not partitions or pair.partition in partitions)
        for view in views
        for pair in view.pairs
    )


def _show(settings: Settings, answers: RepairViews, partitions: tuple[int, ...]) -> None:
    rows: list[Sequence[object]] = []
    document: list[dict[str, Any]] = []
    reasons: list[str] = []
    for name, view in answers.items():
        if isinstance(view, RingmillError):
            reasons.append(f"{name} does not answer: {view}")
            document.append({"node": name, "error": str(view)})
            continue
        pairs = [pair for pair in view.pairs if not partitions or pair.partition in partitions]
        known = [pair.equal_s_ago for pair in pairs if pair.HasField("equal_s_ago")]
        oldest = f"{output.span(max(known))} ago" if known else ""
        figures = {figure: int(getattr(view, figure)) for figure in FIGURES}
        owed = sum(pair.owed for pair in pairs)
        marks = [mark for mark in view.watermarks if not partitions or mark.partition in partitions]
        deletes = sum(mark.tombstones for mark in marks)
        compared = (len(pairs), len(known), oldest, owed)
        rows.append(
            (
                name,
                *compared,
                *figures.values(),
                deletes,
                _oldest(marks),
                view.forgotten + view.registers_removed,
            )
        )
        kept = sorted({mark.held_back for mark in marks if mark.held_back})
        reasons += [f"{name} cannot forget deletes now: {why}" for why in kept]
        if view.stale_refused:
            reasons.append(
                f"{name} refused {view.stale_refused} versions that were deleted and forgotten; its log "
                "names their partitions"
            )
        reasons += sorted({f"{name} and {pair.other}: {pair.held_back}" for pair in pairs if pair.held_back})
        document.append(
            {
                "node": name,
                **figures,
                "forgotten": view.forgotten,
                "stale_refused": view.stale_refused,
                "registers_removed": view.registers_removed,
                "pairs": [_pair(pair) for pair in pairs],
                "watermarks": [_mark(mark) for mark in marks],
            }
        )
    output.show(settings, document, COLUMNS, rows)
    for reason in reasons if settings.output != "json" else ():
        output.note(reason)


def _oldest(marks: Sequence[Watermark]) -> str:
    """The watermark that is furthest behind, of the partitions that hold deletes."""
    behind = [mark.proven_ms for mark in marks if mark.tombstones]
    if not behind:
        return ""
    return f"{output.span(time.time() - min(behind) / 1000)} ago" if min(behind) else "none"


def _mark(mark: Watermark) -> dict[str, Any]:
    return {
        "partition": mark.partition,
        "proven_ms": mark.proven_ms,
        "tombstones": mark.tombstones,
        "leads": mark.leads,
        "held_back": mark.held_back,
    }


def _pair(pair: ComparedPair) -> dict[str, Any]:
    return {
        "partition": pair.partition,
        "other": pair.other,
        "equal_s_ago": round(pair.equal_s_ago, 1) if pair.HasField("equal_s_ago") else None,
        "owed": pair.owed,
        "held_back": pair.held_back,
    }
