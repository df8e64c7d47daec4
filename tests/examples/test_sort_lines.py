"""sort against the command sort, in the order of bytes."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from examples.sort_lines import sort_lines
from ringmill import run_local


def test_the_parts_one_after_the_other_are_what_sort_gives(tmp_path: Path) -> None:
    draw = random.Random(3)
    for name, count in (("a.log", 20_000), ("b.log", 900)):
        lines = [draw.randbytes(draw.randrange(9)).replace(b"\n", b"\r") for _ in range(count)]
        (tmp_path / name).write_bytes(b"\n".join(lines) + b"\n")
    result = run_local(sort_lines, str(tmp_path / "*.log"), str(tmp_path / "out"))
    ours = [Path(part).read_bytes() for part in result.parts]
    command = ["sort", str(tmp_path / "a.log"), str(tmp_path / "b.log")]
    told = subprocess.run(command, capture_output=True, check=True, env={"LC_ALL": "C"})
    assert b"".join(ours) == told.stdout
    assert min(map(len, ours)) > len(told.stdout) / 8
