"""A plugin of pytest that writes what came of each test, what it asked the door, and what the door refused.

It runs in the environment of the suites: it imports nothing of ours.  RINGMILL_OUTCOMES names the file, which
gets one JSON document a line.  Clients that would ask the usual port of Redis ask RINGMILL_DOOR_PORT.  In the
Hypothesis machines of fakeredis it asks the door first: a command that the door refuses on purpose is left
out on both sides, and counted.
"""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import redis
import redis.asyncio
from redis._parsers.base import BaseParser

OUTCOMES = os.environ["RINGMILL_OUTCOMES"]
DOOR_PORT = int(os.environ["RINGMILL_DOOR_PORT"])
REDIS_PORT = 6379
REFUSED = ("is not offered", "there is no keyspace", "string exceeds maximum allowed size (1048576 bytes)")
"""Errors of commands that are left out of a comparison; not every database has a keyspace here."""
MACHINES = "test.test_hypothesis.base"
WORST = ("passed", "skipped", "failed")
LONGEST = 300

tracemalloc.start = lambda *_: None  # redis-py's suite traces all memory, which takes most of its time


class CurrentTest:
    """What is known of the test that runs."""

    def __init__(self) -> None:
        self.outcome = "passed"
        self.reason = ""
        self.commands: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.errors: list[str] = []

    def document(self, name: str) -> dict[str, object]:
        return {
            "test": name,
            "outcome": self.outcome,
            "reason": self.reason[:LONGEST],
            "commands": list(self.commands),
            "asked": self.commands.total(),
            "left_out": dict(self.left_out),
            "errors": self.errors[-20:],
        }


current = CurrentTest()


def note_command(*words: Any) -> None:
    """Count a command that is sent, under its name and the name of its subcommand."""
    texts = [one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in words[:2]]
    if texts:
        current.commands[" ".join(" ".join(texts).upper().split()[:2])] += 1


def watch_connections() -> None:
    for kind in (redis.connection.Connection, redis.asyncio.connection.Connection):
        send, pack_many = kind.send_command, kind.pack_commands

        def sent(self: Any, *words: Any, send: Callable[..., Any] = send, **options: Any) -> Any:
            note_command(*words)
            return send(self, *words, **options)

        def packed_many(self: Any, commands: Any, pack_many: Callable[..., Any] = pack_many) -> Any:
            commands = list(commands)
            for words in commands:
                note_command(*words)
            return pack_many(self, commands)

        begin = kind.__init__

        def begun(self: Any, *words: Any, begin: Callable[..., None] = begin, **options: Any) -> None:
            if not words and options.get("port", REDIS_PORT) == REDIS_PORT:
                options["port"] = DOOR_PORT
            begin(self, *words, **options)

        kind.__init__ = begun  # type: ignore[method-assign]
        kind.send_command, kind.pack_commands = sent, packed_many  # type: ignore[method-assign]

    parse = BaseParser.parse_error.__func__  # type: ignore[attr-defined]

    def parsed(cls: type, response: Any) -> Any:
        current.errors.append(str(response)[:LONGEST])
        return parse(cls, response)

    BaseParser.parse_error = classmethod(parsed)  # type: ignore[method-assign, assignment]


def watch_machines(base: Any) -> None:
    """Have the door asked before fakeredis, and what it refuses left out of the comparison."""
    machine = base.BaseMachine
    compare, evaluate = machine._compare, machine._evaluate

    def compared(self: Any, command: Any) -> None:
        answer = evaluate(self.real, command)
        if answer[1] is not None and any(each in str(answer[1]) for each in REFUSED):
            name = command.encode(command.args[0]).decode("latin-1").upper()
            current.left_out[name] += 1
            for client in (self.real, self.fake):  # a refused command would end a transaction at its EXEC
                discard(client)
            self.transaction_normalize = []
            return

        def of_door(client: Any, asked: Any) -> Any:
            return answer if client is self.real else evaluate(client, asked)

        self._evaluate = of_door
        try:
            compare(self, command)
        finally:
            del self._evaluate

    machine._compare = compared


def discard(client: Any) -> None:
    try:
        client.execute_command("DISCARD")
    except Exception as error:  # noqa: BLE001 - there was no transaction
        del error


@pytest.hookimpl
def pytest_collection_finish() -> None:
    if base := sys.modules.get(MACHINES):
        watch_machines(base)
        usual = hypothesis.settings.get_profile("fakeredis")
        phases = [
            hypothesis.Phase.explicit,
            hypothesis.Phase.generate,
        ]  # to shrink a failure takes hours here
        hypothesis.settings.register_profile("door", usual, deadline=None, phases=phases)
        hypothesis.settings.load_profile("door")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global current  # noqa: PLW0603 - connections outlive tests, and note what they do in the one that runs
    current = CurrentTest()
    outcome = yield
    with open(OUTCOMES, "a", encoding="utf-8") as file:
        file.write(json.dumps(current.document(item.nodeid)) + "\n")
    return outcome


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome
    if WORST.index(outcome) > WORST.index(current.outcome):
        current.outcome = outcome
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else crash.message if crash else ""
        current.reason = " ".join(str(reason).split())


watch_connections()
