"""`ringmill ring show`: a bar for each node against its fair share, and the owners of the partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings

if TYPE_CHECKING:
    from ringmill.client.administration.ring_view import RingView
    from ringmill.cluster.ring.plans.topology_plan import NodeLoad

__all__ = ["bar", "draw", "load_document", "ranges", "show_ring"]

_COLUMNS = ("NODE", "STATE", "ZONE", "WEIGHT", "PARTITIONS", "FAIR", "SHARE", "BYTES")
_FAIR_CELLS: Final = 16
_CELLS: Final = 24
_SETS_SHOWN: Final = 20
_RANGES_SHOWN: Final = 8
_LARGE_SHOWN: Final = 3


@click.command("show")
@click.option("--partitions", "lists_all", is_flag=True, help="list each partition with its owners")
@click.pass_obj
def show_ring(settings: Settings, lists_all: bool) -> None:
    """Show what each node owns beside its fair share, and which nodes own partitions together.

    The fair share is by weight, as far as zones allow it.  Bytes are what nodes tell.
    """
    draw(settings, asyncio.run(_ask(settings)), lists_all=lists_all)


def draw(settings: Settings, view: RingView, *, lists_all: bool) -> None:
    """Print a ring in the requested format; in a pipe only the rows go to stdout."""
    if settings.output == "json":
        output.show(settings, _document(view), (), ())
        return
    if lists_all:
        rows = [
            (at, " ".join(owner.node for owner in row.owners), row.phase, row.row_epoch, round(size))
            for at, (row, size) in enumerate(zip(view.topology.rows, view.sizes, strict=True))
        ]
        output.show(settings, (), ("PARTITION", "OWNERS", "PHASE", "SINCE", "BYTES"), rows)
        return
    topology = view.topology
    output.show(settings, (), _COLUMNS, [_row(view, load) for load in view.loads])
    tell = partial(output.beside, settings)
    tell(
        f"epoch {topology.epoch}, N={topology.n}, {topology.partitions} partitions; "
        f"the fullest node has {view.balance:.2f} of its share"
    )
    for line in _sets(view):
        tell(f"  {line}")
    if large := view.large_partitions():
        tell(f"{len(large)} partitions have over four times the mean; the largest: {_largest(view, large)}")


def bar(fullness: float) -> str:
    """A share as a bar; the mark | stands where the fair share ends."""
    filled = min(_CELLS, round(_FAIR_CELLS * fullness))
    cells = "#" * filled + "." * (_CELLS - filled)
    return f"[{cells[:_FAIR_CELLS]}|{cells[_FAIR_CELLS:]}] {fullness * 100:.0f} %"


def ranges(partitions: Iterable[int], most: int = _RANGES_SHOWN) -> str:
    """Numbers in order as "1-3 5 …", the first `most` of them."""
    runs: list[list[int]] = []
    for at in partitions:
        if runs and at == runs[-1][1] + 1:
            runs[-1][1] = at
        else:
            runs.append([at, at])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:most]]
    return " ".join(shown) + (" …" if len(runs) > most else "")


def load_document(load: NodeLoad) -> dict[str, Any]:
    return {
        "node": load.node,
        "zone": load.zone,
        "weight": load.weight,
        "partitions": load.partitions,
        "fair": round(load.fair, 3),
        "bytes": load.size_bytes,
    }


async def _ask(settings: Settings) -> RingView:
    async with open_client(settings) as db:
        return await db.ring.show()


def _row(view: RingView, load: NodeLoad) -> Sequence[object]:
    state = view.states.get(load.node, "down")
    return (
        load.node,
        state,
        load.zone,
        load.weight,
        load.partitions,
        round(load.fair, 1),
        bar(load.fullness),
        load.size_bytes,
    )


def _sets(view: RingView) -> list[str]:
    """Nodes that own partitions together, those with the most first."""
    together: dict[tuple[str, ...], list[int]] = {}
    for at, row in enumerate(view.topology.rows):
        together.setdefault(tuple(sorted(owner.node for owner in row.owners)), []).append(at)
    most_first = sorted(together, key=lambda nodes: (-len(together[nodes]), nodes))
    lines = [
        f"{' '.join(nodes)}: {len(together[nodes])} partitions, {ranges(together[nodes])}"
        for nodes in most_first[:_SETS_SHOWN]
    ]
    if len(most_first) > _SETS_SHOWN:
        lines.append(f"and {len(most_first) - _SETS_SHOWN} more sets of owners; --partitions lists all")
    return lines


def _largest(view: RingView, large: Sequence[int]) -> str:
    return ", ".join(f"{at} ({view.sizes[at]:,.0f} bytes)" for at in large[:_LARGE_SHOWN])


def _document(view: RingView) -> dict[str, Any]:
    topology = view.topology
    return {
        "cluster": topology.name,
        "epoch": topology.epoch,
        "n": topology.n,
        "partitions": topology.partitions,
        "balance": round(view.balance, 4),
        "nodes": [
            {**load_document(load), "state": view.states.get(load.node, "down")} for load in view.loads
        ],
        "sizes": [round(size) for size in view.sizes],
        "owners": [[owner.node for owner in row.owners] for row in topology.rows],
    }
