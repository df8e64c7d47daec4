"""grep against GNU grep, which counts bytes its own way."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from examples.grep import grep
from ringmill import run_local
from ringmill.cluster.mapreduce.local.in_process import LocalResult


def test_the_same_lines_at_the_same_offsets_as_the_command_grep_finds(tmp_path: Path) -> None:
    for name, lines in (("a.log", 700), ("b.log", 300)):
        text = "".join(f"line {n} " + ("an error\n" if n % 7 == 3 else "fine, naïve\n") for n in range(lines))
        (tmp_path / name).write_text(text)
    result = run_local(grep, str(tmp_path / "*.log"), str(tmp_path / "out"))
    told = subprocess.run(
        ["grep", "-b", "-H", "error", "a.log", "b.log"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    )
    theirs = [line.split(":", 2) for line in told.stdout.splitlines()]
    rows = [json.loads(line) for line in text_of(result).splitlines()]
    ours = [[Path(row["key"][0]).name, str(row["key"][1]), row["value"]] for row in rows]
    assert ours == theirs
    assert result.counters == {"matches": len(theirs)}


def text_of(result: LocalResult) -> str:
    return "".join(Path(part).read_text() for part in result.parts)


def test_the_pattern_is_a_parameter(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("abc\nxyz\n")
    result = run_local(grep, str(tmp_path / "in"), str(tmp_path / "out"), params={"pattern": "^x.z$"})
    [row] = text_of(result).splitlines()
    assert json.loads(row)["value"] == "xyz"
