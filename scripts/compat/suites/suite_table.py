"""What came of the suites' tests, by family of commands, as Markdown."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ringmill.client.gateway.redis.commands.command_spec import COMMANDS, CommandSpec
from ringmill.client.gateway.redis.commands.command_table import load_commands

__all__ = ["Outcomes", "as_table", "share_passed"]

Outcomes = Mapping[str, Sequence[Mapping[str, Any]]]
"""By name of a run, the documents that suite_outcomes.py has written."""

PASSED, REFUSED, FAILED = "passed", "refused", "failed"
ON_PURPOSE: Final = re.compile(
    "is not offered"
    "|unknown command"
    r"|string exceeds maximum allowed size \(1048576 bytes\)"
    "|the value of the key would have"
    "|above the limit of 1048576"
)
"""Errors of the door that docs/redis.md announces: commands that it does not have, and its limits."""

MACHINES: Final = "test_hypothesis/"
_FAMILIES: Final = {
    "strings": "strings",
    "bit_fields": "bits",
    "bits": "bits",
    "hashes": "hashes",
    "lists": "lists",
    "sets": "sets",
    "combined": "sorted sets",
    "ranges": "sorted sets",
    "scored_members": "sorted sets",
    "generic_keys": "keys",
    "copying": "keys",
    "database_commands": "keys",
    "transactions": "transactions",
    "connection_commands": "connection and server",
    "client_commands": "connection and server",
    "server_commands": "connection and server",
    "refused_commands": "commands that are not offered",
}
_OTHER: Final = "several commands"
_RANDOM: Final = "random commands"
_SETUP: Final = {
    "FLUSHALL",
    "FLUSHDB",
    "HELLO",
    "CLIENT",
    "INFO",
    "SELECT",
    "SET",
    "GET",
    "DEL",
    "EXISTS",
    "KEYS",
}


def verdict(test: Mapping[str, Any]) -> str:
    """passed, refused, failed or skipped.  Refused: it failed, and the door has refused something in it.

    The machines of Hypothesis leave out what is refused, so they pass or fail.
    """
    outcome = str(test["outcome"])
    if outcome != FAILED or MACHINES in test["test"]:
        return outcome
    if any(ON_PURPOSE.search(each) for each in [*test["errors"], test["reason"]]):
        return REFUSED
    return outcome


def family(test: Mapping[str, Any]) -> str:
    """The family of the command in the name of the test, else of the first one that prepares nothing."""
    if MACHINES in test["test"]:
        return _RANDOM
    words = re.sub(r"\[.*", "", str(test["test"])).rpartition("::")[2].split("_")[1:]
    for count in range(min(len(words), 3), 0, -1):
        name = "".join(words[:count]).upper().encode()
        if spec := COMMANDS.get(name) or COMMANDS.get("|".join(words[:2]).upper().encode()):
            return _family_of(spec)
    for asked in test["commands"]:
        name, _, subcommand = asked.partition(" ")
        if name not in _SETUP:
            spec = COMMANDS.get(name.encode()) or COMMANDS.get(f"{name}|{subcommand}".encode())
            return _FAMILIES["refused_commands"] if spec is None else _family_of(spec)
    return _OTHER


def _family_of(spec: CommandSpec) -> str:
    run = spec.one_key or spec.each_key or spec.for_connection or spec.waiting
    return _FAMILIES[run.__module__.rpartition(".")[2]]


def share_passed(outcomes: Outcomes) -> float:
    """The share of passed tests among those neither skipped nor refused; from 0 to 1."""
    counts = Counter(verdict(test) for tests in outcomes.values() for test in tests)
    return counts[PASSED] / max(1, counts[PASSED] + counts[FAILED])


def as_table(outcomes: Outcomes) -> Iterator[str]:
    """Lines: a row a family, the sum, the share, what was left out and what fails."""
    load_commands()
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for run, tests in outcomes.items():
        for test in tests:
            counts[family(test)][run][verdict(test)] += 1
    yield "Each cell: passed, refused on purpose, failed."
    yield ""
    yield f"| tests of | {' | '.join(outcomes)} |"
    yield f"|---|{'---:|' * len(outcomes)}"
    for name in [*dict.fromkeys(_FAMILIES.values()), _OTHER, _RANDOM]:
        if name in counts:
            yield f"| {name} | {' | '.join(_cell(counts[name][run]) for run in outcomes)} |"
    sums = {run: sum((each[run] for each in counts.values()), Counter[str]()) for run in outcomes}
    yield f"| **all** | {' | '.join(_cell(sums[run]) for run in outcomes)} |"
    yield f"| passed, of those that are not refused | {' | '.join(_share(sums[run]) for run in outcomes)} |"
    yield ""
    whole = sum(sums.values(), Counter[str]())
    yield f"Of all {whole[PASSED] + whole[FAILED]} tests that are not refused {_share(whole)} pass."
    yield from _left_out(outcomes)
    yield from _failures(outcomes)


def _cell(counts: Counter[str]) -> str:
    return f"{counts[PASSED]}, {counts[REFUSED]}, {counts[FAILED]}"


def _share(counts: Counter[str]) -> str:
    done = counts[PASSED] + counts[FAILED]
    return f"{100 * counts[PASSED] / done:.1f} %" if done else ""


def _left_out(outcomes: Outcomes) -> Iterator[str]:
    names: Counter[str] = Counter()
    asked = 0
    for tests in outcomes.values():
        for test in tests:
            names.update(test["left_out"])
            asked += test["asked"] if MACHINES in test["test"] else 0
    if asked:
        left = ", ".join(f"{name} {count}" for name, count in sorted(names.items()))
        yield ""
        yield f"The machines of Hypothesis sent {asked} commands.  Refused, and left out: {left}."


def _failures(outcomes: Outcomes) -> Iterator[str]:
    runs: dict[str, list[str]] = defaultdict(list)
    reasons: dict[str, str] = {}
    for run, tests in outcomes.items():
        for test in tests:
            if verdict(test) == FAILED:
                name = re.sub(r"\[.*", "", str(test["test"])).rpartition("::")[2]
                runs[name].append(run)
                reasons[name] = str(test["reason"]).replace("|", "\\|").replace("`", "'")[:120]
    if runs:
        yield ""
        yield "| failed | in | first words of the reason |"
        yield "|---|---|---|"
        for name in sorted(runs):
            yield f"| {name} | {', '.join(dict.fromkeys(runs[name]))} | `{reasons[name]}` |"
