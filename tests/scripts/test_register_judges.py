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
    verdict = judge_porcupine(path)
    if not verdict.could_judge:
        pytest.skip(f"Porcupine was {verdict.told}")
    return verdict


@pytest.mark.parametrize(
    ("said", "could"),
    [
        ("main.go:17:2: module lookup disabled by GOPROXY=off", False),
        ("panic: unexpected end of JSON input", None),
    ],
)
def test_only_a_missing_tool_is_not_asked(
    said: str, could: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that fails has said nothing, which may not pass for a tool that is not there."""
    (go := tmp_path / "go").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 2\n", encoding="utf-8")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (history := tmp_path / "history.jsonl").touch()
    if could is None:
        with pytest.raises(RuntimeError, match="without a verdict: panic"):
            judge_porcupine(history)
    else:
        assert judge_porcupine(history).could_judge is could


def test_a_history_survives_its_lines(tmp_path: Path) -> None:
    calls = [call for those in (*SOUND.values(), *BROKEN.values()) for call in those]
    write_lines(calls, tmp_path / "history.jsonl")
    assert read_lines(tmp_path / "history.jsonl") == calls


def test_porcupine_accepts_sound_histories(tmp_path: Path) -> None:
    assert judged(SOUND, tmp_path / "history.jsonl").stories == []


def test_porcupine_refuses_broken_histories(tmp_path: Path) -> None:
    verdict = judged(BROKEN, tmp_path / "history.jsonl")
    assert sorted(story.partition(":")[0] for story in verdict.stories) == sorted(BROKEN)
