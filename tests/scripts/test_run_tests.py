"""The test runner fails by name on a process that outlives the tests, and ends a run that takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import run_tests
from tests.conftest import pytest_terminal_summary

SPAWNS = """
import subprocess, sys
def test_that_forgets_a_process():
    code = "import time; time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
"""


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "GRACE_S", 0.2)
    monkeypatch.setattr(run_tests, "HELPERS", {"a-helper-of-this-test"})
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def _run(folder: Path, text: str, limit_s: float = 60.0) -> int:
    path = folder / "test_sample.py"
    path.write_text(text, encoding="utf-8")
    return run_tests.run(["-q", "--rootdir", str(folder), str(path)], limit_s)


def test_a_process_left_behind_fails_the_run_by_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path, SPAWNS) == 1
    assert "tests: left behind: pid" in (said := capfd.readouterr().err)
    assert "time.sleep(600)" in said


def test_the_process_left_behind_is_ended() -> None:
    environment = {**os.environ, run_tests.MARK: "a-run-of-its-own"}
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment)
    try:
        left = run_tests.left_behind("a-run-of-its-own", time.time(), 0.0)
        assert [process.pid for process in left] == [child.pid]
        run_tests.end(left)
        assert run_tests.left_behind("a-run-of-its-own", time.time(), 0.0) == []
    finally:
        child.kill()
        child.wait()


def test_a_helper_that_outlived_its_node_is_found_though_its_environment_is_clean() -> None:
    began = time.time() - 3  # the system counts starts from a boot time in whole seconds
    node = "import subprocess, sys; code = 'import time; time.sleep(600)'; " + (
        "subprocess.Popen([sys.executable, '-c', code, 'a-helper-of-this-test'], env={})"
    )
    subprocess.run([sys.executable, "-c", node], check=True)
    left = run_tests.left_behind("no-run", began, 0.0)
    run_tests.end(left)
    assert len(left) == 1
    assert run_tests.left_behind("no-run", began, 0.0) == []


def test_a_run_beyond_its_limit_is_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = _run(tmp_path, "import time\ndef test_slow():\n    time.sleep(600)\n", limit_s=2.0)
    assert code == run_tests.TIMED_OUT
    assert "not done after 2 s" in capfd.readouterr().err


# Short sleeps: a signal that comes just before one long sleep begins would be heard only at its end.
HANGS_AFTER_A_FAILURE = """
import pathlib, time
def test_one():
    assert "this" == "that"
def test_two():
    pathlib.Path({hanging!r}).touch()
    while True:
        time.sleep(0.05)
"""


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the sample makes when it begins to hang; only then is the limit over."""
    flag = tmp_path / "hanging"

    def code_within(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
        while not flag.exists() and process.poll() is None:
            time.sleep(0.01)
        return process.poll()

    monkeypatch.setattr(run_tests, "code_within", code_within)
    return flag


def test_a_run_beyond_its_limit_has_told_what_failed_and_prints_its_summary(
    tmp_path: Path, hanging: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = HANGS_AFTER_A_FAILURE.format(hanging=str(hanging))
    assert _run(tmp_path, text) == run_tests.TIMED_OUT
    said = capfd.readouterr()
    assert "tests: failed: test_sample.py::test_one" in said.err
    assert "assert 'this' == 'that'" in said.out and "1 failed" in said.out


def test_a_run_that_does_not_end_when_asked_is_killed_and_has_told_what_failed(
    tmp_path: Path, hanging: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_tests, "SUMMARY_S", 0.5)
    text = HANGS_AFTER_A_FAILURE.format(hanging=str(hanging))
    text = text.replace(
        "import pathlib", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nimport pathlib"
    )
    assert _run(tmp_path, text) == run_tests.TIMED_OUT
    assert "tests: failed: test_sample.py::test_one" in capfd.readouterr().err


def test_a_clean_run_keeps_the_exit_code_of_pytest(tmp_path: Path) -> None:
    assert _run(tmp_path, "def test_fails():\n    assert False\n") == 1
    assert _run(tmp_path, "def test_passes():\n    assert True\n") == 0


def test_the_times_that_tests_note_are_told_with_their_goal_at_the_end() -> None:
    lines: list[str] = []
    noted = [("goal_s", 10.0), ("served_again_after_s", 3.25)]
    report = SimpleNamespace(when="call", user_properties=noted, nodeid="test_sample.py::test_one")
    teardown = SimpleNamespace(when="teardown", user_properties=noted, nodeid="test_sample.py::test_one")
    stats = {"passed": [report], "failed": [teardown]}
    pytest_terminal_summary(SimpleNamespace(stats=stats, write_line=lines.append))
    assert lines == ["served_again_after_s 3.25 (goal 10): test_sample.py::test_one"]


SPAWNS_AND_HANGS = """
import pathlib, subprocess, sys, time
def test_that_waits_beside_a_process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    path = pathlib.Path({told!r})
    path.with_suffix(".new").write_text(str(child.pid))
    path.with_suffix(".new").rename(path)
    time.sleep(600)
"""


def test_a_run_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    told, sample = tmp_path / "pid", tmp_path / "test_sample.py"
    sample.write_text(SPAWNS_AND_HANGS.format(told=str(told)), encoding="utf-8")
    program = [sys.executable, run_tests.__file__, "-q", "--rootdir", str(tmp_path), str(sample)]
    runner = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not told.exists() and runner.poll() is None:
            time.sleep(0.01)
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(60) == run_tests.INTERRUPTED
        assert not psutil.pid_exists(int(told.read_text()))
    finally:
        runner.kill()
        runner.wait()
