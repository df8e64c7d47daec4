"""Prints answers: a table for a person, the same rows with tabs in a pipe, one document for -o json.

Answers go to stdout, everything else to stderr.  Nothing heavy is imported here: `ringmill get` prints
through this module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.suggested_commands import as_typed
from ringmill.cluster.printable import printable

__all__ = [
    "advise", "beside", "fields", "next_command", "note", "paint", "show", "show_bytes", "span", "text_of",
    "to_json", "write_bytes",
]  # fmt: skip

_COLORS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}
_STATE_COLORS = {
    "up": "green", "ok": "green", "SUCCEEDED": "green",
    "suspect": "yellow", "slow": "yellow", "degraded": "yellow", "paused": "yellow",
    "down": "red", "unavailable": "red", "FAILED": "red", "KILLED": "red",
}  # fmt: skip


def show(
    settings: Settings,
    document: Mapping[str, Any] | Sequence[Any],
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> None:
    """Print one answer in the requested format."""
    if settings.output == "json":
        print(to_json(document, sys.stdout))
    elif settings.is_terminal:
        _print_table(settings, columns, rows)
    else:
        for row in rows:
            print("\t".join(_cell(value) for value in row))


def fields(settings: Settings, document: Mapping[str, Any], rows: Sequence[tuple[str, object]]) -> None:
    """Print one object as "name  value" lines."""
    if settings.output == "json":
        print(to_json(document, sys.stdout))
        return
    width = max((len(name) for name, _ in rows), default=0) if settings.is_terminal else 0
    for name, value in rows:
        shown = printable(str(value))
        print(f"{paint(settings, name.ljust(width), 'dim')}  {shown}" if width else f"{name}\t{_cell(value)}")


def note(text: str) -> None:
    """Print a line for people on stderr, beside the answer."""
    print(printable(text, keep="\n\t"), file=sys.stderr, flush=True)


def beside(settings: Settings, text: str) -> None:
    """Print a line that goes with a table: on a terminal where the table is, else on stderr."""
    if settings.is_terminal:
        print(printable(text, keep="\n\t"))
    else:
        note(text)


def advise(settings: Settings, text: str) -> None:
    """Print a note that suggests commands, in the form this user has to type."""
    note(as_typed(text, settings))


def next_command(settings: Settings, *commands: str) -> None:
    """Suggest the next useful commands, if stdout is a terminal."""
    if settings.output == "table" and sys.stderr.isatty():
        advise(settings, f"  try:  {'  ·  '.join(commands)}")


def paint(settings: Settings, text: str, color: str = "") -> str:
    """`text` in `color`, or in the color of the state it names; unchanged when colors are off."""
    code = _COLORS.get(color or _STATE_COLORS.get(text.strip(), ""))
    return f"\x1b[{code}m{text}\x1b[0m" if code and settings.has_color else text


def to_json(document: object, stream: TextIO, default: Callable[[Any], Any] | None = None) -> str:
    """One document on one line, in characters that `stream` can carry and that steer no terminal."""
    is_unicode = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
    text = json.dumps(document, ensure_ascii=not is_unicode, default=default)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def text_of(data: bytes) -> str:
    """Bytes as text for people; keeps line ends and tabs."""
    return printable(data.decode("utf-8", "backslashreplace"), keep="\n\t")


def span(seconds: float) -> str:
    """A time span for people: its two largest units."""
    whole = max(0, int(seconds))
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, whole = divmod(whole, size)
        if count or parts or name == "s":
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def write_bytes(data: bytes) -> None:
    """Write bytes to stdout unchanged."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def show_bytes(settings: Settings, value: bytes, *, is_hex: bool) -> None:
    """Print a value and a line end: as text on a terminal, unchanged in a pipe."""
    if is_hex:
        print(value.hex())
    elif settings.is_terminal:
        print(text_of(value))
    else:
        write_bytes(value + b"\n")


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return printable(text.replace("\\", "\\\\"))


def _print_table(settings: Settings, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[("-" if value is None else printable(str(value))) for value in row] for row in rows]
    right = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(columns))]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)]

    def line(values: Sequence[str]) -> list[str]:
        return [
            value.rjust(width) if to_right else value.ljust(width)
            for value, width, to_right in zip(values, widths, right, strict=True)
        ]

    print(paint(settings, "  ".join(line(columns)).rstrip(), "dim"))
    for row in cells:
        print("  ".join(paint(settings, value) for value in line(row)).rstrip())
