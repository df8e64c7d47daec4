"""The guided tour holds its own claims, and takes everything down however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ringmill.client.local.processes import our_environment
from tests.long_form import takes_long

PROGRAM = "import sys; from ringmill.client.cli.main import main; sys.exit(main())"


def start_tour(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, "demo", "--fast", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, start_new_session=True,
        env={**our_environment(), "TMPDIR": str(folder), "HOME": str(folder)},
    )  # fmt: skip


def left_of(folder: Path) -> list[str]:
    """Processes that name the folder or sit in it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        named = " ".join([*(process.info["cmdline"] or ()), process.info["cwd"] or ""])
        if str(folder) in named and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{process.pid} {named[:100]}")
    return found


@pytest.mark.slow
def test_the_tour_holds_every_claim(tmp_path: Path) -> None:
    tour = start_tour(tmp_path)
    out, err = tour.communicate(timeout=240)
    assert tour.returncode == 0, err
    told = json.loads(out)
    assert told["ok"] and all(claim["ok"] for claim in told["claims"])
    lost = [claim["seen"] for claim in told["claims"] if claim["claim"] == "acknowledged writes lost"]
    assert lost == ["0"]
    assert any("byte for byte" in claim["claim"] for claim in told["claims"])
    assert left_of(tmp_path) == [] and os.listdir(tmp_path) == []


@takes_long
def test_an_interrupted_tour_leaves_no_process(tmp_path: Path) -> None:
    tour = start_tour(tmp_path)
    assert tour.stderr is not None
    for line in tour.stderr:
        if "kill -9" in line:
            break
    assert len(left_of(tmp_path)) >= 4
    tour.send_signal(signal.SIGINT)
    tour.communicate(timeout=120)
    assert tour.returncode == 130
    assert left_of(tmp_path) == []
