"""docs/guarantees.md: each section of promises has a row in its table of tests, and what rows name is there.

A row names checkers of the simulator, tests, or the figures of a page where something can only be measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from tidy_rules.finding import Finding
from tidy_rules.links import slug

__all__ = ["promises"]

PAGE, CHECKERS = Path("docs/guarantees.md"), Path("docs/testing.md")
TABLE = "## Where each is shown"
HEADING = re.compile(r"^#{2,3} (.+)$")
NAMED = re.compile(r"\[[^\]]*\]\(#([\w-]+)\)")
CHECKER = re.compile(r"\bC[1-9][0-9]*\b")
TEST = re.compile(r"`(tests/[\w./-]*)`")
FIGURES = re.compile(r"\]\([\w./-]+\.md#[\w-]+\)")


def promises(root: Path, texts: Mapping[Path, str]) -> Iterator[Finding]:
    """Sections before the table that no row names, and rows that show nothing or name what is not there."""
    if PAGE not in texts:
        return
    lines = list(enumerate(texts[PAGE].splitlines(), start=1))
    at = next((number for number, line in lines if line == TABLE), 0)
    if not at:
        yield Finding(PAGE, 1, f'has no "{TABLE}"; write the table that says which test shows each promise')
        return
    rows = list(_rows(lines[at:]))
    named = {anchor for _, cells in rows for anchor in NAMED.findall(cells[0])}
    for number, line in lines[: at - 1]:
        if (heading := HEADING.match(line)) and slug(heading[1]) not in named:
            what = f'no row of the table shows "{heading[1]}"; name the tests that show its promises'
            yield Finding(PAGE, number, what)
    known = set(re.findall(r"^\| (C[1-9][0-9]*) \|", texts.get(CHECKERS, ""), re.MULTILINE))
    for number, cells in rows:
        yield from _shown(root, number, cells[-1], known)


def _rows(lines: list[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """The rows of the table of this section, without its head: line and cells."""
    of_section = takewhile(lambda one: not one[1].startswith("#"), lines)
    of_table = [(number, line) for number, line in of_section if line.startswith("|")]
    for number, line in of_table[2:]:
        yield number, [cell.strip() for cell in line.strip().strip("|").split("|")]


def _shown(root: Path, number: int, cell: str, known: set[str]) -> Iterator[Finding]:
    checkers, tests = CHECKER.findall(cell), TEST.findall(cell)
    if not (checkers or tests or FIGURES.search(cell)):
        what = "a promise that nothing shows; name a checker, a test, or where its figures are"
        yield Finding(PAGE, number, what)
    for checker in checkers:
        if checker not in known:
            yield Finding(PAGE, number, f"names {checker}, which {CHECKERS} does not have")
    for test in tests:
        if not (root / test).exists():
            yield Finding(PAGE, number, f"names {test}, which is not there; name the test that shows it")
