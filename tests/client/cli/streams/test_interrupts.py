"""Ctrl-C: the process ends with 130, says what is known, and shows no trace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.local.processes import our_environment

PROGRAM = [sys.executable, "-P", "-m", "ringmill"]
PATIENCE_S = 60


def start(*line: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=our_environment()
    )


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def test_an_interrupted_put_says_that_its_outcome_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        writing = start("--endpoints", address, "--timeout", "50s", "put", "k", "v")
        connection, _ = silent.accept()
        with connection:
            code, out, err = interrupt(writing)
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert [line.split(":")[0] for line in err.splitlines()] == ["error", "  why", "  try"]
    assert "the put of k was interrupted" in err and "the outcome is unknown" in err


def test_an_interrupted_simulation_is_three_lines(tmp_path: Path) -> None:
    story = tmp_path / "story"
    running = start("simulate", "--seed", "1", "--ops", "100000", "--trace", str(story))
    deadline = time.monotonic() + PATIENCE_S
    while not os.path.exists(story) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1)  # into the run; whenever it comes, the end is the same
    code, out, err = interrupt(running)
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    lines = [line for line in err.splitlines() if " operations" not in line]
    assert [line.split(":")[0] for line in lines] == ["error", "  why", "  try"], err


def test_an_interrupt_while_the_program_is_loaded_prints_no_traceback() -> None:
    for delay_s in (0.02, 0.05, 0.08, 0.12):  # wherever it strikes, there is no trace of Python's own
        process = start("put", "k", "v", "--endpoints", "127.0.0.1:1")
        time.sleep(delay_s)
        _, out, err = interrupt(process)
        assert out == "" and ("client/cli" not in err or "Traceback" not in err), err
