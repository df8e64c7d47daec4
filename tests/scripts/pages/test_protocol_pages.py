"""docs/protocol/ knows every safeguard that the simulator can switch off."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringmill.simulator.subjects.every import SUBJECTS

PAGES = Path(__file__).resolve().parents[3] / "docs" / "protocol"
NAMES = [ablation.name for subject in SUBJECTS for ablation in subject.ablations]


@pytest.mark.parametrize("name", NAMES)
def test_every_ablation_shows_a_rule(name: str) -> None:
    shown = [page.name for page in PAGES.glob("*.md") if f"`{name}`" in page.read_text(encoding="utf-8")]
    assert shown, f"no rule in docs/protocol names the ablation {name}"


def numbered(text: str) -> set[str]:
    """The rules of a cell such as "D1 to D3, F1"."""
    found = set()
    for letter, first, last in re.findall(r"\b([A-Z])(\d+)(?: to [A-Z](\d+))?", text):
        found |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_the_table_of_pages_has_each_rule_and_no_other() -> None:
    rows = re.findall(
        r"^\| \[\w+\]\((\w+\.md)\) \| ([^|]+) \|", (PAGES / "README.md").read_text(), re.MULTILINE
    )
    assert {page for page, _ in rows} == {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    for page, cell in rows:
        headings = re.findall(r"^## ([A-Z]\d+):", (PAGES / page).read_text(), re.MULTILINE)
        assert numbered(cell) == set(headings), page
