"""Logs of nodes are read as one, though a node rotates its log."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ringmill.client.local import log_files
from ringmill.client.local.log_files import FollowedLog, tail
from ringmill.client.local.processes import our_environment

LOGS = """
import logging, os, sys
from ringmill.cluster.adapters.files.rotated_log import RotatedLog
from ringmill.cluster.logs.log_lines import log_by

log_by(RotatedLog(sys.argv[1], most_bytes=4096, files=int(sys.argv[2])))
for number in range(int(sys.argv[3])):
    logging.info("record %d", number)
    if number % 50 == 0:
        os.write(2, b"raw %d\\n" % number)
        print("printed", number, flush=True)
"""


def logged(path: Path, *, files: int, records: int) -> subprocess.Popen[bytes]:
    """A process that logs as a node does, and has no other stdout and stderr."""
    place = [sys.executable, "-P", "-c", LOGS, str(path), str(files), str(records)]
    return subprocess.Popen(
        place, env=our_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, umask=0
    )


def numbers(lines: list[str], word: str) -> list[int]:
    return [int(line.split()[-1]) for line in lines if word in line]


def test_a_log_is_followed_over_each_rotation_and_no_line_is_missed(tmp_path: Path) -> None:
    path, lines = tmp_path / "n1.log", list[str]()
    path.write_text("before\n")
    followed = FollowedLog(str(path))
    process = logged(path, files=1000, records=1500)
    while process.poll() is None:
        lines += followed.new_lines()
    lines += followed.new_lines()
    assert process.returncode == 0 and len(os.listdir(tmp_path)) > 10
    assert numbers(lines, "record") == list(range(1500))
    assert numbers(lines, "raw") == numbers(lines, "printed") == list(range(0, 1500, 50))
    assert "before" not in lines


def test_a_log_keeps_a_bounded_number_of_files_of_its_user_alone_and_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    path.write_text("x" * 5000 + "\n")
    assert logged(path, files=3, records=400).wait() == 0
    assert sorted(os.listdir(tmp_path)) == ["n1.log", "n1.log.1", "n1.log.2"]
    assert all(4096 >= os.path.getsize(tmp_path / name) > 0 for name in os.listdir(tmp_path))
    assert os.stat(path).st_mode & 0o777 == os.stat(f"{path}.1").st_mode & 0o777 == 0o600
    assert numbers(tail(str(path), 100), "record") == list(range(302, 400))
    assert tail(str(path), 0) == [] and tail(str(tmp_path / "none"), 5) == []


def test_a_line_is_shown_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    followed = FollowedLog(str(path))
    assert list(followed.new_lines()) == []
    with path.open("wb", buffering=0) as log:
        log.write(b"one\ntw")
        assert list(followed.new_lines()) == ["one"]
        os.rename(path, f"{path}.1")
        log.write("o\ndreiß\n".encode())
        path.write_text("next\n")
        assert list(followed.new_lines()) == ["two", "dreiß", "next"]


def test_a_rotation_that_is_held_up_half_way_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "n1.log"
    path.write_text("one\n")
    followed = FollowedLog(str(path))
    with path.open("a") as log:
        log.write("two\n")
    os.rename(path, f"{path}.3")
    Path(f"{path}.2").write_text("three\n")  # and nothing has become n1.log.1 yet
    path.write_text("four\n")

    def sleep(_: float) -> None:
        os.rename(path, f"{path}.1")
        path.write_text("five\n")

    monkeypatch.setattr(time, "sleep", sleep)
    assert list(followed.new_lines()) == ["two", "three", "four", "five"]


def moved_on(path: Path) -> None:
    """As RotatedLog does."""
    for number in range(5, 0, -1):
        source = Path(f"{path}.{number - 1}") if number > 1 else path
        if source.exists():
            os.rename(source, f"{path}.{number}")
    path.write_text("newest\n")


def test_a_rotation_while_the_files_are_looked_for_doubles_and_leaves_out_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "n1.log"
    for at in range(2):  # how many files have been opened until then
        for name in os.listdir(tmp_path):
            os.remove(tmp_path / name)
        Path(f"{path}.2").write_text("oldest\n")
        Path(f"{path}.1").write_text("old\n")
        path.write_text("a\nb\n")
        followed = [FollowedLog(str(path)) for _ in range(2)]
        opened, real = [0], log_files._open_if_there

        def open_slowly(each: str, opened: list[int] = opened, at: int = at, real: Any = real) -> Any:
            file = real(each)
            opened[0] += 1
            if opened[0] == at + 1:
                moved_on(path)
            return file

        with monkeypatch.context() as patched:
            patched.setattr(log_files, "_open_if_there", open_slowly)
            assert list(followed[0].earlier_lines()) == ["oldest", "old", "a", "b"], at
            opened[0] = 0
            assert followed[1].last_lines(4) == ["oldest", "old", "a", "b"], at


def test_files_behind_a_gap_of_a_rotation_that_was_broken_off_are_read(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    Path(f"{path}.4").write_text("a\n")
    Path(f"{path}.1").write_text("c\n")
    path.write_text("d\n")
    assert list(FollowedLog(str(path)).earlier_lines()) == ["a", "c", "d"]
    assert FollowedLog(str(path)).last_lines(9) == tail(str(path), 9) == ["a", "c", "d"]


def test_a_log_whose_next_file_is_not_made_yet_has_its_lines_and_what_comes(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    Path(f"{path}.2").write_text("b\n")
    Path(f"{path}.1").write_text("c\n")
    followed = FollowedLog(str(path))
    assert list(followed.earlier_lines()) == ["b", "c"]
    path.write_text("d\n")
    moved_on(path)
    assert list(followed.new_lines()) == ["d", "newest"]


def test_a_line_that_had_begun_is_whole_also_when_no_line_from_before_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    path.write_text("old\nbeg")
    followed = FollowedLog(str(path))
    assert followed.last_lines(0) == []
    with path.open("a") as log:
        log.write("un\n")
    assert list(followed.new_lines()) == ["begun"]


def test_what_comes_while_the_last_lines_are_printed_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "n1.log"
    (tmp_path / "n1.log.1").write_text("oldest\nolder\n")
    path.write_text("old\nbeg")
    followed = FollowedLog(str(path))
    with path.open("a") as log:
        log.write("un\nnew\n")
    os.rename(tmp_path / "n1.log.1", tmp_path / "n1.log.2")
    os.rename(path, tmp_path / "n1.log.1")
    path.write_text("newest\n")
    assert followed.last_lines(2) == ["older", "old"]
    assert list(followed.new_lines()) == ["begun", "new", "newest"]
    assert FollowedLog(str(path)).last_lines(0) == FollowedLog(str(tmp_path / "none")).last_lines(5) == []
