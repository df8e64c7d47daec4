"""Jobs that do not go as they should, typed in a shell at five real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

JOB = """
import os
import time
from collections.abc import Iterator
from ringmill import job

def words(offset: int, line: str) -> Iterator[tuple[str, int]]:
    {body}
    yield line, 1

mine = job(map=words)
"""


def write_job(folder: Path, name: str, body: str) -> str:
    (folder / f"{name}.py").write_text(JOB.format(body=body))
    return f"{name}.py:mine"


def write_lines(folder: Path, name: str, files: int) -> str:
    """A folder of files that are a map task each, with --split-mib 1."""
    (folder / name).mkdir()
    for number in range(files):
        (folder / name / f"{number:02d}.txt").write_text(f"line {number}\n" + " " * 600_000 + "\n")
    return name


def test_bad_records_are_set_aside_as_in_one_process(shell: Shell) -> None:
    source = write_lines(shell.folder, "bad-in", 3)
    (shell.folder / source / "01.txt").write_text("line 1\nno line\n\xe9\n")
    target = write_job(
        shell.folder, "strict", "assert line.split()[:1] == ['line'] or not line.strip(), line"
    )
    line = (target, "--input", source, "--output")
    quarantine = ("--on-bad-record", "quarantine:2")
    done = shell.ok("job", "run", *line, "bad-out", *quarantine, "-o", "json").json
    shell.ok("job", "local", *line, "bad-local", *quarantine)
    written = shell.files_in("bad-out")
    assert written == shell.files_in("bad-local")
    assert done["records"]["bad"] == len(written["_BAD_RECORDS"].splitlines()) == 2
    assert b"set aside " in shell.ok("job", "logs", done["job"]).out
    failed = shell.run("job", "run", *line, "bad-none", "--on-bad-record", "quarantine:1")
    assert failed.code == 1 and "more than 1 bad records" in failed.err
    assert not (shell.folder / "bad-none").exists()


def test_a_record_that_ends_its_process_is_narrowed_down_and_set_aside(shell: Shell) -> None:
    source = write_lines(shell.folder, "fatal-in", 2)
    (shell.folder / source / "01.txt").write_text("fine\nabort\nwell\nleave\n")
    body = "os.abort() if line == 'abort' else os._exit(5) if line == 'leave' else None"
    line = (write_job(shell.folder, "fatal", body), "--input", source, "--output", "fatal-out")
    done = shell.ok("job", "run", *line, "--on-bad-record", "quarantine:2", "-o", "json").json
    told = [json.loads(each) for each in (shell.folder / "fatal-out" / "_BAD_RECORDS").open()]
    assert [(Path(each["file"]).name, each["offset"], each["record"]) for each in told] == [
        ("01.txt", 5, "abort"), ("01.txt", 16, "leave"),
    ]  # fmt: skip
    assert {each["error"] for each in told} == {"Killed: the process ended twice while map had this record"}
    assert (done["records"]["bad"], done["tasks"]["retried"]) == (2, 4)


def test_a_task_that_hangs_on_one_node_runs_on_another_one(shell: Shell) -> None:
    body = "if '3' in line and os.getcwd().endswith('.1'): time.sleep(600)"  # in the first attempt
    source = write_lines(shell.folder, "slow-in", 4)
    target = write_job(shell.folder, "hangs_once", body)
    line = ("job", "run", target, "--input", source, "--output", "slow-out", "--split-mib", "1")
    done = shell.ok(*line, "-o", "json").json
    assert (done["state"], done["tasks"]["retried"]) == ("SUCCEEDED", 0)
    told = shell.ok("job", "status", done["job"], "-o", "json").json["events"]
    [story] = [event for event in told if "is a backup" in event]
    assert story.startswith("map-3.2 on ")
