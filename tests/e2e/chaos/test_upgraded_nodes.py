"""The short form of scripts/chaos/upgrading: from the last release, or from an earlier commit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.long_form import takes_long

ROOT: Final = Path(__file__).resolve().parents[3]
EARLIER: Final = "573718f6659b027d2ede6db673e4d7fad11cd5ea"
"""Where there is no release yet: of 2026-11-29."""
PATIENCE_S: Final = 300.0


def git(*line: str) -> str:
    """What git says; "" when it refuses, or there is none."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *line], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@takes_long
def test_nodes_of_an_earlier_revision_are_upgraded_under_load_and_nothing_fails(tmp_path: Path) -> None:
    revision = git("describe", "--tags", "--abbrev=0", "HEAD^") or EARLIER
    if not git("rev-parse", "--verify", "--quiet", f"{revision}^{{tree}}"):
        pytest.skip(f"{revision[:8]} is not in the history of this clone")
    done = subprocess.run(
        [sys.executable, "scripts/chaos/upgrading", "--from", revision, "--warm", "0.5"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.splitlines()[-1] == "held"
    assert done.stdout.count("0 errors, 0 lost") == 2, "of a client of the earlier code, and of one of this"
    assert not list(tmp_path.iterdir()), "data of a run that held is removed"
