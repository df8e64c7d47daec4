"""Jobs that do not go as they should, typed in a shell at five real processes."""

from __future__ import annotations

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


def test_a_task_that_hangs_on_one_node_runs_on_another_one(shell: Shell) -> None:
    marker = shell.folder / "hangs"
    body = (
        f"if '3' in line and not os.path.exists({str(marker)!r}): os.mkdir({str(marker)!r}); time.sleep(600)"
    )
    source = write_lines(shell.folder, "slow-in", 4)
    target = write_job(shell.folder, "hangs_once", body)
    line = ("job", "run", target, "--input", source, "--output", "slow-out", "--split-mib", "1")
    done = shell.ok(*line, "-o", "json").json
    assert (done["state"], done["tasks"]["retried"]) == ("SUCCEEDED", 0)
    told = shell.ok("job", "status", done["job"], "-o", "json").json["events"]
    [story] = [event for event in told if "is a backup" in event]
    assert story.startswith("map-3.2 on ")
