"""A log as JSON: one object a line, and the same event for the same thing, as the page lists them."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from events_page import PAGE, with_events
from ringmill.cluster.logs.log_events import EVENTS, NOTICE, log_as_json, note_epoch
from ringmill.cluster.logs.log_lines import log_by

ROOT = Path(__file__).resolve().parents[3]
LEVELS = {"info", "warning", "error", "exception"}


def templates() -> Iterator[str]:
    """What nodes and gateways log, before values are put in."""
    for folder in ("node", "client", "cluster"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                owner = ast.unparse(call.func.value)
                if call.func.attr in LEVELS and (owner == "_log" or owner.startswith("logging.getLogger")):
                    first = call.args[0]
                    if isinstance(first, ast.Constant):
                        yield str(first.value)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream, root = io.StringIO(), logging.Logger("root")
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging, "getLogger", lambda name=None: root)
    log_by(logging.StreamHandler(stream))
    log_as_json("n1")
    return stream


def records(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_each_text_that_nodes_and_gateways_log_has_an_event_and_none_is_left_over() -> None:
    assert set(templates()) == set(EVENTS), (
        "add it to cluster/logs/log_events.py, then run scripts/events_page.py"
    )


def test_the_page_lists_the_events() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert with_events(text) == text, "run scripts/events_page.py"


def test_a_record_is_an_object_on_a_line(log: io.StringIO) -> None:
    logging.root.info("%s is %s", "n3", "down")
    note_epoch(4)
    logging.root.warning("a reason")
    try:
        raise ValueError("it broke")
    except ValueError as error:
        logging.root.error("%s: %s failed", "n1", "kv.put", exc_info=error)
    state, notice, failed = records(log)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(state.pop("time")))
    assert state == {
        "level": "info", "event": "member.state", "message": "n3 is down", "node": "n1", "epoch": None,
        "logger": "root",
    }  # fmt: skip
    assert (notice["event"], notice["epoch"]) == (NOTICE, 4)
    assert failed["event"] == "request.faulty" and "ValueError: it broke" in str(failed["error"])


def test_what_a_stranger_sends_ends_no_line_and_steers_no_terminal(log: io.StringIO) -> None:
    logging.root.warning('a link of n3"}\n{"event": "node.serving"}\x1b[2J\u202e was refused')
    (record,) = records(log)
    assert record["event"] == NOTICE and not set("\x1b\u202e") & set(log.getvalue())
