"""What others have written does not steer a terminal, and comes through a pipe as it is stored."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.cli.cluster.status_view import show_status
from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.kv import register_verbs
from ringmill.client.cli.main import main
from ringmill.client.cli.observing.doctor_verb import _print
from ringmill.client.doctor.finding import bad
from ringmill.client.registers.registers import RegisterValue

EVIL = "\x1b]0;title\x07\x1b[2Jn1"
ESCAPED = r"\x1b]0;title\x07\x1b[2Jn1"


@pytest.fixture
def terminal() -> Iterator[None]:
    with patch.object(Settings, "is_terminal", True):
        yield


def shown(value: bytes, *flags: str) -> int:
    """`ringmill register k` where it holds this value."""

    @asynccontextmanager
    async def open_client(_: Settings) -> Any:
        keyspace = SimpleNamespace(get=AsyncMock(return_value=RegisterValue(value, 1)))
        yield SimpleNamespace(registers=SimpleNamespace(keyspace=Mock(return_value=keyspace)))

    with patch.object(register_verbs, "open_client", open_client):
        return main(["register", "6b", *flags])


@pytest.mark.usefixtures("terminal")
def test_a_register_on_a_terminal_is_text_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown(EVIL.encode()) == 0
    assert capsys.readouterr().out == ESCAPED + "\n"


@pytest.mark.parametrize("value", [b"\xff\x00\x1b", rb"\xff", b""])
def test_a_register_in_a_pipe_is_what_is_stored(value: bytes, capfdbinary: Any) -> None:
    assert shown(value) == 0
    assert capfdbinary.readouterr().out == value + b"\n"
    assert shown(value, "--hex") == 0
    assert capfdbinary.readouterr().out == value.hex().encode() + b"\n"
    assert shown(value, "-o", "json") == 0
    assert json.loads(capfdbinary.readouterr().out)["version"] == 1


@pytest.mark.usefixtures("terminal")
def test_what_nodes_tell_is_escaped_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    node = NodeStatus("n1", "127.0.0.1:1", "up", "up", 16, tombstones=2, purge_held_back=EVIL)
    show_status(
        Settings(no_color=True),
        ClusterStatus("c", 1, 1, "degraded", (EVIL,), "n1", Ranges(16, 0, 0), (node,)),
        None,
    )
    _print(Settings(no_color=True), [bad("nodes", EVIL, EVIL)])
    told = capsys.readouterr().out
    assert "\x1b" not in told and told.count(ESCAPED) == 4


def test_json_steers_no_terminal_and_says_the_same() -> None:
    """JSON itself escapes what is below U+0020 alone; U+009B begins a command of many terminals."""
    document = {
        "name\u009b31m": ["\u009d0;title\u009c", "\u202e", "\x7f", "\ue000\U000e0001", "grün \U0001f600"]
    }
    told = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    text = output.to_json(document, told)
    assert text.isprintable() and json.loads(text) == document
    assert '"grün \U0001f600"' in text
