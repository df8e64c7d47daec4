"""What a job prints is no part of the answer, and a job run here hashes as on a node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ringmill.client.local.processes import our_environment

JOB = """
import os
from collections.abc import Iterator
from ringmill import FileOutput, job

print("imported")

def lines(offset: int, line: str) -> Iterator[tuple[str, int]]:
    print("a line")
    os.system("echo from a shell")
    yield from ((word, len(word)) for word in set(line.split()))

mine = job(map=lines, order="input", reducers=1, output=FileOutput("tsv"))
"""


def test_what_a_job_prints_goes_to_stderr_and_its_sets_are_those_of_a_node(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(JOB)
    words = [f"word{number}" for number in range(40)]
    (tmp_path / "in").write_text(" ".join(words))
    line = "job local mine.py:mine --input in --output out -o json --processes 2"
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "ringmill", *line.split()],
        env={**our_environment(), "PYTHONHASHSEED": "1"}, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout)["state"] == "SUCCEEDED"
    assert {"imported", "a line", "from a shell"} <= set(ran.stderr.splitlines())
    as_node = subprocess.run(
        [sys.executable, "-c", "import sys; print(*set(sys.argv[1:]))", *words],
        env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    written = [row.split("\t")[0] for row in (tmp_path / "out" / "part-00000").read_text().splitlines()]
    assert written == as_node.stdout.split()
