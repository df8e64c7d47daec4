"""What the tour says of a claim with a goal."""

from __future__ import annotations

import pytest

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.demo.demo_story import Story


@pytest.mark.parametrize(
    ("took_s", "mark", "has_held", "slow"),
    [(1.0, "ok", True, []), (3.07, "slow", True, ["up"]), (12.0, "FAIL", False, [])],
)
def test_a_missed_goal_is_neither_ok_nor_a_failure(
    capsys: pytest.CaptureFixture[str], took_s: float, mark: str, has_held: bool, slow: list[str]
) -> None:
    story = Story(Settings())
    story.timed("up", took_s, goal_s=2.0, limit_s=10.0)
    said = capsys.readouterr().out.split()
    assert said[0] == mark
    assert " ".join(said).endswith(f"{took_s:.2f} s; goal 2 s, fails above 10 s")
    assert (story.has_held, story.slow) == (has_held, slow)
