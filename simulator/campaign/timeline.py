"""A run as one HTML page: a lane for each node and session, operations as bars, events of nodes as marks."""

from __future__ import annotations

from html import escape

from ringmill.simulator.history import Operation
from ringmill.simulator.run import SimulationResult

__all__ = ["timeline_html"]

_WIDTH = 1_600
_LANE = 22
_COLOURS = {"ok": "#3a7d44", "failed": "#b8b8b8", "unknown": "#d08c2e"}
_STYLE = (
    "body{font:13px sans-serif;margin:20px}text{font-size:11px}.bad{color:#b00020}svg{border:1px solid #ddd}"
)


def timeline_html(result: SimulationResult) -> str:
    """A whole HTML document that needs nothing else.  Events of nodes are there when the story was kept."""
    sessions = sorted({operation.session for operation in result.history.operations})
    nodes = [f"n{number + 1}" for number in range(result.options.nodes)]
    lanes = {name: at for at, name in enumerate([*nodes, *sessions])}
    scale = (_WIDTH - 80) / max(result.virtual_s, 1e-9)
    marks = [_bar(operation, lanes, scale, result.virtual_s) for operation in result.history.operations]
    marks += [mark for line in result.story if (mark := _event(line, lanes, scale))]
    names = [f'<text x="4" y="{at * _LANE + 15}">{name}</text>' for name, at in lanes.items()]
    found = "".join(f'<li class="bad">{escape(str(violation))}</li>' for violation in result.violations)
    return (
        f"<!doctype html><meta charset=utf-8><title>seed {result.seed}</title><style>{_STYLE}</style>"
        f"<h1>seed {result.seed}: {result.verdict}</h1><ul>{found}</ul>"
        f'<svg width="{_WIDTH}" height="{len(lanes) * _LANE + 10}">{"".join([*names, *marks])}</svg>'
        f"<p>{result.virtual_s:.1f} s of virtual time from left to right; point at a mark to read it. "
        f"Green: answered, amber: outcome unknown, grey: failed; red: faults, black: starts and ends.</p>"
    )


def _bar(operation: Operation, lanes: dict[str, int], scale: float, end_s: float) -> str:
    left = 60 + operation.invoked * scale
    width = max(2.0, ((operation.returned or end_s) - operation.invoked) * scale)
    title = (
        f"{operation.index} {operation.kind} {operation.key.decode()} {operation.outcome} {operation.dot} "
        f"{operation.error}"
    )
    top = lanes[operation.session] * _LANE + 4
    colour = _COLOURS[operation.outcome]
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_LANE - 8}" fill="{colour}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _event(line: str, lanes: dict[str, int], scale: float) -> str:
    """A mark for a line of the story that is about a node's life or a fault; "" for messages."""
    at, who, what = line.split(" ", 2)
    is_fault = what.startswith("fault ")
    if not is_fault and not what.startswith(
        ("starts", "is killed", "is paused", "is resumed", "has stopped")
    ):
        return ""
    lane = lanes.get(who.split(",")[0].split(">")[0])
    if lane is None:
        return ""
    colour = "#c62828" if is_fault else "#111"
    return (
        f'<circle cx="{60 + float(at) * scale:.1f}" cy="{lane * _LANE + 11}" r="4" fill="{colour}">'
        f"<title>{escape(line)}</title></circle>"
    )
