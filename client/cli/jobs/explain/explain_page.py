"""`ringmill job explain --html`: one page that needs nothing else, light or dark as the reader has it.

Everything that comes from users, names, errors, paths, is escaped here; nothing in the page runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ringmill.client.cli.jobs.explain.explain_text import explanation_lines, phases_text, size_text
from ringmill.client.jobs.explanation import JobExplanation
from ringmill.client.jobs.slot_rows import SlotRow
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.printable import printable

__all__ = ["explanation_page"]

WIDTH = 1000
LABEL = 90
ROW = 18
MOST_TASKS = 5000
"""Rows of the table; a browser takes long for more."""
_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; background: Canvas; color: CanvasText; }
pre { overflow-x: auto; } table { border-collapse: collapse; } td, th { padding: 1px 10px; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; } tr:nth-child(even) { background: #8882; }
svg { width: 100%; height: auto; } svg text { fill: CanvasText; font-size: 11px; }
.map { fill: #4a90d9; } .reduce { fill: #3fa45b; } .lost { opacity: .45; } .failed { fill: #d9534f; }
"""


def explanation_page(explanation: JobExplanation, title: str) -> str:
    """The page; `title` names the job's code."""
    name = _shown(explanation.job)
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{name}</title><style>{_STYLE}</style></head>\n<body><h1>{name}</h1>",
            f"<p>{_shown(title)}</p>\n<pre>",
            "\n".join(_shown(line) for line in explanation_lines(explanation)),
            "</pre>\n<h2>Slots</h2>\n",
            *_chart(explanation),
            "\n<p>Blue: maps. Green: reduces. Red: failed. Pale: did not count.</p>\n<h2>Attempts</h2>\n",
            *_table(explanation),
            "</body></html>\n",
        )
    )


def _shown(text: str) -> str:
    """Text as HTML, without control characters and lone surrogates."""
    return escape(printable(text, keep="\n").encode("utf-8", "backslashreplace").decode())


def _chart(explanation: JobExplanation) -> Iterator[str]:
    """A row for each slot, and a bar for each attempt in it."""
    end_s = max(explanation.seconds, 0.001)
    height = ROW * (len(explanation.rows) + 1)
    yield f'<svg viewBox="0 0 {WIDTH + LABEL + 40} {height}" role="img" aria-label="attempts by slot">'
    for number, row in enumerate(explanation.rows):
        top = number * ROW
        yield f'<text x="0" y="{top + 12}">{_shown(row.node)} {row.slot}</text>'
        yield from _bars(row, top, end_s)
    for tenth in range(0, 11, 2):
        at_s = end_s * tenth / 10
        yield f'<text x="{LABEL + WIDTH * tenth // 10}" y="{height - 4}">{at_s:.1f} s</text>'
    yield "</svg>"


def _bars(row: SlotRow, top: int, end_s: float) -> Iterator[str]:
    for each in row.attempts:
        left = LABEL + WIDTH * each.began_s / end_s
        width = max(1.0, WIDTH * each.seconds(end_s) / end_s)
        kind = "failed" if each.state == "failed" else each.stage
        pale = "" if each.counts or each.state == "running" else " lost"
        yield (
            f'<rect class="{_shown(kind)}{pale}" x="{left:.1f}" y="{top + 2}" width="{width:.1f}" '
            f'height="{ROW - 4}"><title>{_shown(_tip(each, end_s))}</title></rect>'
        )


def _tip(attempt: AttemptSummary, end_s: float) -> str:
    phases = phases_text(attempt.figures.phases)
    failure = f"\n{attempt.cause}: {attempt.error}" if attempt.cause else ""
    took = f"{attempt.seconds(end_s):.2f} s"
    return f"{attempt.name} on {attempt.node}, {took}, {attempt.state}\n{phases}{failure}"


def _table(explanation: JobExplanation) -> Iterator[str]:
    columns = ("attempt", "node", "state", "began", "took", "in", "out", "memory", "phases", "error")
    yield f"<table><tr>{''.join(f'<th>{each}</th>' for each in columns)}</tr>\n"
    attempts = sorted(
        (one for row in explanation.rows for one in row.attempts), key=lambda each: each.began_s
    )
    for one in attempts[:MOST_TASKS]:
        numbers = (
            f"{one.began_s:.2f} s", f"{one.seconds(explanation.seconds):.2f} s", size_text(one.bytes_in),
            size_text(one.bytes_out), f"{one.figures.peak_bytes >> 20} MiB",
        )  # fmt: skip
        error = f"{one.cause}: {one.error}" if one.cause else ""
        yield "<tr>"
        yield from (f"<td>{_shown(text)}</td>" for text in (one.name, one.node, one.state))
        yield from (f'<td class="n">{text}</td>' for text in numbers)
        yield from (f"<td>{_shown(text)}</td>" for text in (phases_text(one.figures.phases), error))
        yield "</tr>\n"
    yield "</table>"
    if len(attempts) > MOST_TASKS:
        yield f"<p>and {len(attempts) - MOST_TASKS} more</p>"
