"""The second judge of registers, Porcupine, agrees with C7 about each history that is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from judges.register_lines import Verdict, judge_porcupine, read_lines, write_lines
from ringmill.client.checked.register_calls import RegisterCall
from tests.simulator.checkers.test_registers import BROKEN, SOUND


def judged(stories: Mapping[str, Sequence[RegisterCall]], path: Path) -> Verdict:
    """All stories as one history, each on a key of its own."""
    calls = [replace(call, key=name.encode()) for name, those in stories.items() for call in those]
    write_lines(calls, path)
    verdict = judge_porcupine(path, offline=True)
    if not verdict.could_judge:
        pytest.skip(f"Porcupine was {verdict.told}")
    return verdict


def test_a_history_survives_its_lines(tmp_path: Path) -> None:
    calls = [call for those in (*SOUND.values(), *BROKEN.values()) for call in those]
    write_lines(calls, tmp_path / "history.jsonl")
    assert read_lines(tmp_path / "history.jsonl") == calls


def test_porcupine_accepts_sound_histories(tmp_path: Path) -> None:
    assert judged(SOUND, tmp_path / "history.jsonl").stories == []


def test_porcupine_refuses_broken_histories(tmp_path: Path) -> None:
    verdict = judged(BROKEN, tmp_path / "history.jsonl")
    assert sorted(story.partition(":")[0] for story in verdict.stories) == sorted(BROKEN)
