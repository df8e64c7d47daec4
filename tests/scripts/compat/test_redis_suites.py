"""A suite that ends half-way is told, and no share is made of the tests that were run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEST = {"test": "t::test_get", "outcome": "passed", "errors": [], "reason": "", "commands": ["GET"],
        "left_out": {}, "asked": 1}  # fmt: skip


@contextmanager
def nothing(*_: object, **__: object) -> Iterator[Any]:
    yield SimpleNamespace(command=lambda *_, **__: "", port=1)


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with one run of two parts; nothing is started."""
    monkeypatch.syspath_prepend(ROOT / "scripts" / "compat")
    import redis_suites

    run = redis_suites.Run("one", "redis", [["a.py"], ["b.py"]])
    monkeypatch.setattr(redis_suites, "FOLDER", tmp_path)
    monkeypatch.setattr(redis_suites, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(redis_suites, "RUNS", (run,))
    for name in ("BenchCluster", "redis_gateway"):
        monkeypatch.setattr(redis_suites, name, nothing)
    monkeypatch.setattr(redis_suites, "unpacked", lambda *_: tmp_path)
    monkeypatch.setattr(redis_suites, "environment_python", lambda _: Path(sys.executable))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["redis_suites.py", "--write"])
    (tmp_path / "page.md").write_text(f"{redis_suites.BEGIN}\nas it was\n{redis_suites.END}\n")
    return redis_suites


@pytest.mark.parametrize(("code", "is_whole"), [(0, True), (1, True), (5, True), (2, False), (-9, False)])
def test_only_what_was_run_to_its_end_is_written(
    code: int,
    is_whole: bool,
    suites: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended: list[int] = [0, code]

    def pytest_run(*_: object, env: dict[str, str], **__: object) -> object:
        Path(env["RINGMILL_OUTCOMES"]).write_text(json.dumps(TEST) + "\n")
        return SimpleNamespace(returncode=ended.pop(0))

    monkeypatch.setattr(subprocess, "run", pytest_run)
    assert suites.main() == (0 if is_whole else 1)
    assert ("as it was" in (tmp_path / "page.md").read_text()) is not is_whole
    assert ("not run to the end, and to be run again: one 2" in capsys.readouterr().err) is not is_whole
    if not is_whole:  # nor later, as the lines of its first tests are still there
        monkeypatch.setattr(sys, "argv", ["redis_suites.py", "--only", "none", "--write"])
        assert suites.main() == 1
