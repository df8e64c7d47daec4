"""`ringmill explain`."""

from __future__ import annotations

import asyncio

import click

from ringmill.client.arguments import level_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.kv.fields import field_of
from ringmill.client.cli.kv.kv_arguments import key_of, keyspace_option
from ringmill.client.explanations import Explanation, OwnerPart, QuestionPart
from ringmill.client.values import json_bytes
from ringmill.cluster.printable import printable

__all__ = ["explain"]

_COLUMNS = ("OWNER", "STATE", "ASKED", "TOOK", "BYTES", "DOTS", "ANSWER", "REPAIR", "HINT")
_OF_REGISTER = (*_COLUMNS[:5], "VERSION", "PROMISED", "ACCEPTED", "ANSWER", "REPAIR")
_SETTLED = {
    "quorum": "settled by the answers, nothing written",
    "round": "settled by a round, no value written",
    "written": "written back",
}


@click.command()
@click.argument("key")
@click.option("-r", "r", metavar="LEVEL", help="owners that must answer: a number, one, quorum or all")
@keyspace_option
@click.pass_obj
def explain(settings: Settings, key: str, r: str | None, keyspace: str, is_hex: bool) -> None:
    """Read KEY, and show what was decided on the way and what each owner said.

    It is a real read: owners that differ are repaired.  That of a register (--keyspace registers) finishes a
    change that is under way.
    """
    name, level = key_of(key, is_hex), None if r is None else level_named(r, "r")

    async def ask() -> Explanation:
        async with open_client(settings) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            return await space.explain(name, r=level)

    found = asyncio.run(ask())
    if settings.is_terminal:
        for line in _story(field_of(name), found):
            print(line)
    document = {**json_bytes("key", name), **found.to_dict()}
    if found.register is None:
        output.show(settings, document, _COLUMNS, [_row(owner) for owner in found.owners])
    else:
        output.show(settings, document, _OF_REGISTER, [_register_row(owner) for owner in found.owners])
    if settings.output != "json" and found.error:
        output.note(f"the read failed: {found.error}")


def _story(key: str, found: Explanation) -> list[str]:
    asked = ", ".join(
        f"{address} (silent lately)" if silent else address for address, silent in found.candidates
    )
    place = f"position {found.position:#018x}  partition {found.partition}"
    result = "failed" if found.error else f"{found.values} value{'' if found.values == 1 else 's'}"
    steps: list[str] = []
    if found.register is not None:
        steps = [printable(f"├─ {_told(each)}") for each in found.register.questions]
        if not found.error:
            result += f" in version {found.register.version}, {_SETTLED.get(found.register.settled, '')}"
    return [
        printable(f"{key} in {found.keyspace}  {place}  epoch {found.epoch}, row of {found.row_epoch}"),
        f"├─ client asks in this order: {asked}",
        f"├─ coordinated by {found.coordinator}; after the owners: {' '.join(found.fallbacks) or 'nobody'}",
        *steps,
        f"└─ read at r = {found.r}{' (weak)' if found.weak else ''}: {result} in {found.took_ms:.1f} ms",
    ]


def _told(question: QuestionPart) -> str:
    ballot = f" {question.ballot}" if question.ballot else ""
    took = f"at {question.asked_ms:.1f} ms, took {question.took_ms:.1f} ms"
    return f"{question.question}{ballot} {took}: {question.decision}"


def _row(owner: OwnerPart) -> tuple[object, ...]:
    return (
        owner.node,
        owner.state,
        f"at {owner.asked_ms:.1f} ms" if owner.asked else "no",
        f"{owner.took_ms:.1f} ms" if owner.answered or owner.error else None,
        owner.bytes if owner.answered else None,
        ", ".join(owner.dots) or None,
        _answer(owner),
        "written back" if owner.written_back else owner.write_back_error or None,
        "kept" if owner.hinted else None,
    )


def _register_row(owner: OwnerPart) -> tuple[object, ...]:
    told = owner.answered
    *_, answer, repair, _ = row = _row(owner)
    ballots = owner.promised or ("none" if told else None), owner.accepted or ("none" if told else None)
    return (*row[:5], owner.version if told else None, *ballots, answer, repair)


def _answer(owner: OwnerPart) -> str | None:
    if not owner.asked:
        return None
    if owner.answered:
        state = "same" if owner.same else "differs"
        return f"{state}, late" if owner.silent else state
    return owner.error or ("silent" if owner.silent else "not waited for")
