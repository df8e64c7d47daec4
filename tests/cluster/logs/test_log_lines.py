"""What strangers send is quoted in the log, and never looks like a record of the node."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from ringmill.cluster.logs import log_lines

FORGED = "n3\n2026-01-01 00:00:00,000 INFO    node  all is well\x1b[2J\r\u202e"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a node of this process would write to stderr."""
    stream, root = io.StringIO(), logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    log_lines.log_by(logging.StreamHandler(stream))
    return stream


def test_what_a_stranger_sends_begins_no_line_and_steers_no_terminal(log: io.StringIO) -> None:
    logging.root.warning("a link of %s was refused", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        logging.root.error("it failed", exc_info=error)
    *lines, rest = log.getvalue().split("\n")
    assert rest == "" and not any(line.startswith("2026-01-01") for line in lines)
    assert sum(not line.startswith("    ") for line in lines) == 2
    assert not set("\x1b\r\u202e") & set(log.getvalue())
    assert "\\x1b[2J\\r\\u202e was refused" in log.getvalue()


def test_a_node_logs_that_way() -> None:
    place = ["--id", "n1", "--data", "data", "--listen", "127.0.0.1:7199", f"--bogus={FORGED}"]
    command = [sys.executable, "-m", "ringmill.node", *place]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and "all is well" in ended.stderr
    assert not any(line.startswith("2026-01-01") for line in ended.stderr.splitlines())
