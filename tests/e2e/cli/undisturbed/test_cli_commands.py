"""Programs as map and reduce, typed in a shell at five real processes: the bytes of one process; a failure is
told with status and stderr; a job that is killed takes its programs with it.  The input comes by URL."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell

MODULE = """
from ringmill import Command, job

counted = job(map=Command(["./words.sh"]), reduce=Command(["sort", "-r"]), reducers=2)
broken = job(map=Command(["sh", "-c", "read line; echo cannot: $line >&2; exit 7"]))
asleep = job(map=Command(["sh", "-c", "echo $$ > asleep.pid; exec sleep 600"]))
"""


def test_programs_map_and_reduce_as_in_one_process(shell: Shell) -> None:
    folder = shell.folder
    (folder / "programs.py").write_text(MODULE)
    (folder / "words.sh").write_text("#!/bin/sh\nexec tr -s ' ' '\\n'\n")
    (folder / "words.sh").chmod(0o755)
    (folder / "said.txt").write_text("".join(f"w{n % 50} w{n % 7}\n" for n in range(2000)))
    line = ("programs.py:counted", "--input", "said.txt", "--output")
    by_url = (line[0], "--input", f"local://{folder}/sai?.txt", "--output", f"local://{folder}/programs-out/")
    shell.ok("job", "run", *by_url)
    again = shell.run("job", "run", *by_url)
    assert again.code == 1 and "programs-out exists" in again.err and not list(folder.glob(".programs-out*"))
    shell.ok("job", "local", *line, "programs-local")
    for number in range(2):
        part = (folder / "programs-out" / f"part-0000{number}").read_bytes()
        assert part == (folder / "programs-local" / f"part-0000{number}").read_bytes()
        assert part.splitlines() == sorted(part.splitlines(), reverse=True) != []
    assert (folder / "programs-out" / "_SUCCESS").read_bytes() == (
        folder / "programs-local" / "_SUCCESS"
    ).read_bytes()

    failed = shell.run("job", "run", "programs.py:broken", "--input", "said.txt", "--output", "no")
    assert failed.code == 1
    assert "ended with status 7; its stderr ends: cannot: w0 w0" in failed.err

    line = ("programs.py:asleep", "--input", "said.txt", "--output")
    job = shell.ok("job", "run", *line, "no", "--detach", "-o", "json").json["job"]
    program = int(_until_written(folder / "home", f"**/{job}/**/asleep.pid"))
    shell.ok("job", "kill", job)
    until = time.monotonic() + 20
    while Path(f"/proc/{program}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{program}")


def _until_written(folder: Path, pattern: str) -> str:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for path in folder.glob(pattern):
            if (text := path.read_text()).endswith("\n"):
                return text
        time.sleep(0.05)
    raise AssertionError("no task began")
