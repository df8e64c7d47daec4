"""The short form of scripts/chaos/flips.py: bits flipped in every file of a node's folder, which heals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.long_form import takes_long

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 300.0


@takes_long
def test_a_node_with_bits_flipped_in_every_file_starts_and_heals_while_every_read_is_right(
    tmp_path: Path,
) -> None:
    script = str(ROOT / "scripts" / "chaos" / "flips.py")
    options = ["--rounds", "2", "--seed", "5", "--keys", "100", "--partitions", "32", "--pause", "0.03"]
    done = subprocess.run(
        [sys.executable, script, *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "2 rounds" in done.stdout
    assert "0 with a violation" in done.stdout
    assert not list(tmp_path.iterdir()), "data of a run that held is removed"
