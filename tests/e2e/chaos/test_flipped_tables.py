"""The short form of scripts/chaos/tables.py: a byte flipped in every table of a running node, which heals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 300.0


@pytest.mark.slow
def test_a_byte_flipped_in_every_table_of_a_running_node_is_reported_and_healed_while_it_serves(
    tmp_path: Path,
) -> None:
    script = str(ROOT / "scripts" / "chaos" / "tables.py")
    done = subprocess.run(
        [sys.executable, script, "--tables", "3", "--seed", "3", "--partitions", "32", "--pause", "0.03"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "0 with a violation" in done.stdout
    assert not list(tmp_path.iterdir()), "data of a run that held is removed"
