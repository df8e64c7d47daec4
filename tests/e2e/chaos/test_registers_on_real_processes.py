"""The short form of scripts/chaos/registers.py: clients meet on registers while processes are killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 300.0
KILLS_EARLY = "40"  # a kill after 0.6 s, two pauses after 4 s


@pytest.mark.slow
def test_registers_of_real_processes_are_linearizable_under_kills(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "chaos" / "registers.py"
    options = ["--seconds", "6", "--seed", KILLS_EARLY, "--nodes", "3", "--groups", "1"]
    ended = subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    assert re.search(r"^C7 +linearizable, each change counted once", ended.stdout, re.MULTILINE)
    assert re.search(r"faults fired .*\d kill\b", ended.stdout), ended.stdout
    assert not list(tmp_path.iterdir()), "data of a run that held is removed"
