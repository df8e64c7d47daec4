"""An answer that stdout took only a part of is an error, however the interpreter buffers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.local.processes import our_environment

VERB = """
import click
from ringmill.client.cli.console.output import write_bytes
from ringmill.client.cli.running import run_command

verb = click.Command("get", callback=lambda: write_bytes(bytes(range(256)) * 2000))
raise SystemExit(run_command(verb, "ringmill get", []))
"""
FAILING = """
def fail():
    from ringmill.cluster.errors import NotFound
    raise NotFound("a message of some length")
"""
ANSWER = bytes(range(256)) * 2000


def answered(stdout: int, *, is_unbuffered: str, limit: int = -1) -> tuple[int, bytes]:
    """The exit code of a verb that answers ANSWER on stdout, and its stderr."""
    told = subprocess.run(
        [sys.executable, "-P", "-c", VERB],
        env={**our_environment(), "PYTHONUNBUFFERED": is_unbuffered},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    return told.returncode, told.stderr


@pytest.mark.parametrize("is_unbuffered", ["", "1"])
def test_an_answer_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path, is_unbuffered: str) -> None:
    with open(tmp_path / "answer", "wb") as file:
        code, said = answered(file.fileno(), is_unbuffered=is_unbuffered, limit=len(ANSWER) // 2)
    assert code == ExitCode.FAILED and b"FILE_FAILED" in said


@pytest.mark.parametrize("is_unbuffered", ["", "1"])
def test_notes_that_do_not_fit_on_the_disk_change_no_exit_code(tmp_path: Path, is_unbuffered: str) -> None:
    verb = VERB.replace("callback=lambda: write_bytes(bytes(range(256)) * 2000)", "callback=fail")
    with open(tmp_path / "log", "wb") as log:
        told = subprocess.run(
            [sys.executable, "-P", "-c", FAILING + verb],
            env={**our_environment(), "PYTHONUNBUFFERED": is_unbuffered},
            stderr=log,
            timeout=60,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
        )
    assert told.returncode == ExitCode.NOT_FOUND


@pytest.mark.parametrize("is_unbuffered", ["", "1"])
def test_a_pipe_that_does_not_block_gets_all(is_unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    found: list[bytes] = []
    with open(reader, "rb") as file:
        reading = threading.Thread(target=lambda: found.append(file.read()))
        reading.start()
        code, said = answered(writer, is_unbuffered=is_unbuffered)
        os.close(writer)
        reading.join(60)
    assert (code, said) == (ExitCode.DONE, b"")
    assert found == [ANSWER]
