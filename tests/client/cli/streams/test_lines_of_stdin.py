"""What `mput -` and `mget -` read: lines that are none, keys as they are printed, and Ctrl-C meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.kv.batch_input import BATCH_ITEMS
from ringmill.client.local.processes import our_environment
from tests.client.one_node import OneNode
from tests.e2e.cli.conftest import Ended, Shell

PROGRAM = [sys.executable, "-P", "-m", "ringmill"]


Run: TypeAlias = Callable[..., Ended]


@pytest.fixture
def run(node: tuple[OneNode, str], tmp_path: Path) -> Run:
    """Runs a line in this process, at a node that holds nothing yet."""

    def called(*line: str, stdin: bytes) -> Ended:
        node[0].values.clear()
        return Shell(tmp_path).call("--endpoints", node[1], *line, stdin=stdin)

    return called


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"no value", "1 fields"),
        (b"\tv", "key is empty"),
        (b"k\t" + bytes(2**20 + 1).replace(b"\0", b"v"), "1048577 bytes"),
        (b"k" * 1025 + b"\tv", "1025 bytes"),
    ],
    ids=["no pair", "no key", "long value", "long key"],
)
def test_what_came_before_an_invalid_line_is_written_and_reported(
    node: tuple[OneNode, str], run: Run, wrong: bytes, why: str
) -> None:
    lines = [b"k%d\tv" % number for number in range(1500)]
    stdin = b"\n".join([*lines[:1200], b"", wrong, *lines[1200:]])
    told = run("-o", "json", "mput", "-", stdin=stdin)
    assert told.code == ExitCode.USAGE
    assert len(node[0].values) == 1200 == len(told.out.splitlines())
    *notes, last = told.err.splitlines()
    assert all("keys so far" in note for note in notes), "it tells how far it is when it takes long"
    error = json.loads(last)["error"]
    assert "line 1202 of stdin" in error["message"] and why in error["message"]
    assert (error["outcome"], error["detail"]["changed"]) == ("unknown", "pairs written before it: 1,200")


def test_where_nothing_came_before_nothing_was_changed(node: tuple[OneNode, str], run: Run) -> None:
    told = run("mput", "-", stdin=b"wrong\nk\tv\n")
    assert told.code == ExitCode.USAGE and "nothing was changed" in told.err
    told = run("mput", "k=v", "=v", stdin=b"")
    assert told.code == ExitCode.USAGE and "argument 2: " in told.err
    assert "pairs written before it: 1\n" in told.err and node[0].values == {b"k": [b"v"]}


def test_keys_are_read_as_scan_prints_them(run: Run) -> None:
    told = run("-o", "json", "mget", "-", stdin=b"a\\tb\n\\xff\n\\\\n\n")
    keys = [json.loads(line) for line in told.out.splitlines()]
    assert [one.get("key", one.get("key_b64")) for one in keys] == ["a\tb", "/w==", "\\n"]
    told = run("-o", "json", "mget", "--format", "raw", "-", stdin=b"a\\tb\na\tb\n")
    assert [json.loads(line)["key"] for line in told.out.splitlines()] == ["a\\tb", "a\tb"]
    told = run("-o", "json", "mget", "--format", "jsonl", "-", stdin=b'{"key": "a"}\n{"key_b64": "/w=="}\n')
    assert [next(iter(json.loads(line).values())) for line in told.out.splitlines()] == ["a", "/w=="]
    told = run("mget", "-", stdin=b"k\tv\n")
    assert told.code == ExitCode.USAGE and "line 1 of stdin, as tsv: it has a tab" in told.err


@pytest.mark.parametrize(("verb", "line"), [("mput", b"k\tv\n"), ("mget", b"k\n")])
def test_the_first_interrupt_ends_who_waits_for_stdin(
    node: tuple[OneNode, str], verb: str, line: bytes
) -> None:
    node[0].values.clear()
    before = node[0].framed
    waiting = subprocess.Popen(
        [*PROGRAM, "--endpoints", node[1], verb, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=our_environment(),
    )
    try:
        assert waiting.stdin is not None and waiting.stderr is not None
        waiting.stdin.write(line * (BATCH_ITEMS + 1))
        waiting.stdin.flush()
        until = time.monotonic() + 60
        while node[0].framed < before + BATCH_ITEMS:  # then it reads the next batch, or is about to
            assert waiting.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) == ExitCode.INTERRUPTED
        told = waiting.stderr.read()
        assert b"interrupted" in told and b"Traceback" not in told and b"Fatal" not in told
    finally:
        waiting.kill()
        waiting.communicate(timeout=20)
