"""Draws `ringmill top`: a head line, a row for each node, and the hottest keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ringmill.cluster.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ringmill.client.administration.top_view import RequestPace, TopNode, TopView

__all__ = ["COLUMNS", "drawn", "head", "row", "lines_below"]

COLUMNS: Final = (
    "NODE", "STATE", "READS/S", "P50", "P99", "WRITES/S", "P50", "P99", "ERRORS/S", "REFUSED/S",
    "WAIT", "HINTS", "MOVES", "TASKS", "LAG",
)  # fmt: skip
_KEY_CHARACTERS: Final = 40
_COLORS: Final = {"up": "green", "ok": "green", "down": "red", "unavailable": "red"}


def head(view: TopView) -> str:
    """The cluster in one line."""
    return (
        f"{view.cluster}  {view.health}  epoch {view.epoch}  reads {_paced(view.reads)}  "
        f"writes {_paced(view.writes)}  errors {view.errors_s:,.1f}/s  hints {view.hints:,}  "
        f"moves {view.moves}  jobs {view.jobs}  tasks {view.tasks}"
    )


def row(node: TopNode) -> Sequence[object]:
    """The cells of a node; None where it did not answer."""
    return (
        node.id, node.state,
        *_cells(node.reads), *_cells(node.writes),
        _rate(node.errors_s), _rate(node.refused_s),
        node.waiting, node.hints, node.moves, node.tasks, _ms(node.lag_p99_ms),
    )  # fmt: skip


def lines_below(view: TopView) -> Iterator[str]:
    """The reasons of an unwell cluster, and the hottest keys."""
    for reason in view.reasons:
        yield printable(reason)
    for key in view.hot_keys:
        name = printable(str(key["key"]))[:_KEY_CHARACTERS]
        yield (
            f"hot: {name} in {key['keyspace']}  {key['reads_s']:,.0f} reads/s  "
            f"{key['writes_s']:,.0f} writes/s  {', '.join(key['owners'])}"
        )


def drawn(view: TopView, *, has_color: bool) -> RenderableType:
    """The view for a terminal of any width."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim" if has_color else "")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
    for node in view.nodes:
        cells = ["-" if cell is None else printable(str(cell)) for cell in row(node)]
        style = _COLORS.get(node.state, "yellow") if has_color else ""
        table.add_row(cells[0], Text(cells[1], style=style), *cells[2:])
    color = _COLORS.get(view.health, "yellow") if has_color else ""
    lines = [Text(line, overflow="ellipsis", no_wrap=True) for line in lines_below(view)]
    return Group(Text(printable(head(view)), style=color), Text(""), table, Text(""), *lines)


def _paced(pace: RequestPace) -> str:
    p99 = "" if pace.p99_ms is None else f" (p99 {_ms(pace.p99_ms)})"
    return f"{pace.per_s:,.0f}/s{p99}"


def _cells(pace: RequestPace | None) -> tuple[object, object, object]:
    if pace is None:
        return None, None, None
    return _rate(pace.per_s), _ms(pace.p50_ms), _ms(pace.p99_ms)


def _rate(per_s: float | None) -> str | None:
    if per_s is None:
        return None
    return f"{per_s:,.0f}" if per_s >= 10 or not per_s else f"{per_s:.1f}"


def _ms(value: float | None) -> str | None:
    """A time in milliseconds, or in seconds from 10 s on."""
    if value is None:
        return None
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.1f} ms"
