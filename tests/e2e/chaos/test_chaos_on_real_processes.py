"""The short form of scripts/chaos: processes killed, paused and cut off, under the simulator's checkers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 300.0


def start(*options: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "chaos"), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(home)},
    )


@pytest.mark.slow
def test_real_processes_lose_nothing_under_kills_pauses_and_bent_links(tmp_path: Path) -> None:
    process = start("--seconds", "3", "--seed", "5", "--json", home=tmp_path)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, (out, err)
    told = json.loads(out)
    assert told["verdict"] == "ok"
    assert told["lost"] == 0
    assert told["converged"]
    assert told["operations"] > 0
    assert sum(told["faults"].values()) > 0
    assert not list(tmp_path.iterdir()), "data of a run that held is removed"


def test_an_interrupted_run_stops_its_nodes_and_removes_its_data(tmp_path: Path) -> None:
    process = start("--seconds", "600", home=tmp_path)
    try:
        while not list(tmp_path.glob("*/chaos/cluster.json")):
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running
