"""Draws "Who may import whom" into docs/architecture.md, from the layers that import-linter checks.

python scripts/layers_page.py     a test says when it has to be run again
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["PAGE", "with_drawings"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- layers: begin (scripts/layers_page.py) -->", "<!-- layers: end -->"
WIDTH = 100


def with_drawings(text: str) -> str:
    """The page with a drawing of each package in the place of the ones that it has."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "```", "\n\n".join(_drawings()), "```", END + after])


def _drawings() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            for package in contract["containers"]:
                yield "\n".join([package, *_floors(contract["layers"])])


def _floors(layers: Sequence[str]) -> Iterator[str]:
    for layer in layers:
        modules = " │ ".join(module.strip() for module in layer.split("|"))
        yield from textwrap.wrap(modules, WIDTH, initial_indent="    ", subsequent_indent="      ")


if __name__ == "__main__":
    PAGE.write_text(with_drawings(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
