"""The figures of a benchmark as Markdown, for docs/benchmarks.md.

    python scripts/bench/markdown.py build/bench/kv.json [--columns per_s,p99_ms,nodes_us]

Prints when and where it was measured, the settings, one table, and the notes.  Measures nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from report import shown

__all__ = ["as_markdown"]

ALWAYS = ("case", "in_flight", "rate_per_s", "store")


def as_markdown(document: dict[str, Any], columns: Sequence[str] = ()) -> Iterator[str]:
    """Lines.  `columns` chooses among those of the rows; what tells rows apart is always there."""
    machine = ", ".join(document["machine"].values())
    yield f"{document['started'][:10]}, {machine}, Python {document['versions']['python']}."
    yield ", ".join(f"{name} {value}" for name, value in document["settings"].items()) + "."
    yield ""
    names = list(dict.fromkeys(name for row in document["rows"] for name in row))
    names = [name for name in names if not columns or name in columns or name in ALWAYS]
    is_text = [any(isinstance(row.get(name), str) for row in document["rows"]) for name in names]
    yield f"| {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield f"|{'|'.join('---' if text else '---:' for text in is_text)}|"
    for row in document["rows"]:
        yield f"| {' | '.join(shown(row.get(name)) for name in names)} |"
    if document["notes"]:
        yield ""
        yield from (f"- {text}" for text in document["notes"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--columns", default="", help="names, with commas between  [all]")
    options = parser.parse_args()
    document = json.loads(options.path.read_text(encoding="utf-8"))
    print("\n".join(as_markdown(document, [one for one in options.columns.split(",") if one])))


if __name__ == "__main__":
    main()
