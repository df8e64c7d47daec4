"""Stale gRPC stubs: the recorded hash of proto/ must be that of the files as they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tidy_rules.finding import Finding

__all__ = ["stale_stubs"]

RECORD = Path("cluster/wire/stubs/proto.sha256")


def stale_stubs(root: Path) -> Iterator[Finding]:
    script = root / "scripts" / "proto.py"
    if script.exists():
        checked = subprocess.run(
            [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
        )
        if checked.returncode:
            yield Finding(RECORD, 1, checked.stderr.strip().splitlines()[-1])
