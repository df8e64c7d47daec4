"""docs/protocol/ knows every safeguard that the simulator can switch off."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringmill.simulator.subjects.every import SUBJECTS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "protocol"
NAMES = [ablation.name for subject in SUBJECTS for ablation in subject.ablations]


@pytest.mark.parametrize("name", NAMES)
def test_every_ablation_shows_a_rule(name: str) -> None:
    shown = [page.name for page in PAGES.glob("*.md") if f"`{name}`" in page.read_text(encoding="utf-8")]
    assert shown, f"no rule in docs/protocol names the ablation {name}"
