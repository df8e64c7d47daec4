"""The short form of scripts/chaos/mixed.py: all sorts of requests while processes are killed and paused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.long_form import takes_long

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 300.0
SHORT = "218"  # a pause, a kill of all, a kill of two beside a split, all within 6 s


@takes_long
def test_all_sorts_of_requests_hold_what_they_promise_under_kills_and_pauses(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "chaos" / "mixed.py"
    ended = subprocess.run(
        [sys.executable, str(script), "--rounds", "3", "--nodes", "3", "--seed", SHORT, "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert ended.returncode == 0, (ended.stdout, ended.stderr)
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["verdict"] == "ok"
    assert told["faults"] == {"kill": 1, "kill_all": 1, "pause": 1, "split_halves": 1}
    assert all(told["loads"][name]["ok"] for name in ("objects", "registers", "merging", "scans", "watches"))
    assert told["porcupine"].startswith(("linearizable", "not asked: Go is", "not asked: its module is"))
    assert told["converged_s"] is not None
    assert not list(tmp_path.iterdir()), "data of a run that held is removed"
