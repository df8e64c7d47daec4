"""Logs of nodes are read as one, though a node rotates its log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ringmill.client.local.log_files import FollowedLog, tail
from ringmill.client.local.processes import our_environment

LOGS = """
import logging, os, sys
from ringmill.cluster.adapters.files.rotated_log import RotatedLog
from ringmill.node.log_lines import log_by

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
