"""The commands that a page of docs shows with what they print: lines after `$` in blocks of kind console."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["DOCS", "check_command", "page_commands"]

DOCS = Path(__file__).parents[5] / "docs"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def page_commands(page: str) -> list[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    found: list[tuple[str, str]] = []
    for block in _BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            found.append((command, printed))
    return found


def check_command(command: str, printed: str, environment: Mapping[str, str]) -> None:
    """Type it in the folder above docs/.  Raises AssertionError when it prints something else; an ellipsis on
    the page stands for anything."""
    ended = subprocess.run(
        ["sh", "-c", command], capture_output=True, timeout=60, env=dict(environment), cwd=DOCS.parent,
        check=False,
    )  # fmt: skip
    expected = re.escape(printed.rstrip("\n")).replace("…", ".*")
    told = ended.stdout.decode().rstrip("\n")
    assert re.fullmatch(expected, told, re.DOTALL), (command, told, ended.stderr)
