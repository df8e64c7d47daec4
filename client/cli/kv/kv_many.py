"""`ringmill mget` and `ringmill mput`: many keys, each with an outcome of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from ringmill.client.arguments import durability_named, level_named
from ringmill.client.cli.console import exit_codes, output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.failure_text import FileFailed, Interrupted
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.client.cli.kv.batch_input import (
    FORMATS,
    KEY_FORMATS,
    in_batches,
    keys_given,
    pairs_given,
    read_aside,
)
from ringmill.client.cli.kv.fields import field_of
from ringmill.client.cli.kv.kv_arguments import keyspace_option
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.kv_requests import ManyPutsSettings
from ringmill.client.values import Item, Receipt, json_bytes
from ringmill.cluster.errors import InvalidArgument, NotFound, RingmillError

__all__ = ["mget", "mput", "print_many"]

_TELL_EVERY_S: Final = 2.0


class _Tally:
    """How far it is: the worst exit code, and a line on stderr now and then."""

    def __init__(self, settings: Settings, doing: str) -> None:
        self._settings = settings
        self._doing = doing
        self._next = time.monotonic() + _TELL_EVERY_S
        self.items = 0
        self.failed = 0
        self.worst = ExitCode.DONE

    def count(self, outcomes: Sequence[object]) -> None:
        errors = [each for each in outcomes if isinstance(each, RingmillError)]
        self.items += len(outcomes)
        self.failed += len(errors)
        self.worst = exit_codes.worst([self.worst, *map(exit_codes.of, errors)])
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _TELL_EVERY_S
            output.note(f"{self._doing}: {self.items:,} keys so far, {self.failed:,} failed")

    def changed(self) -> str:
        """What is known to be done, and what is not."""
        done = f"pairs written before it: {self.items - self.failed:,}"
        return f"{done}; failed or unknown: {self.failed:,}" if self.failed else done

    def end(self) -> ExitCode:
        if self._settings.is_terminal or self.failed:
            output.note(f"{self._doing}: {self.items:,} keys, {self.failed:,} failed")
        return self.worst


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option(
    "--format",
    "form",
    type=click.Choice(KEY_FORMATS),
    default="tsv",
    show_default=True,
    help="of stdin: keys as `ringmill scan --keys-only` prints them; a JSON object a line; or as they are",
)
@click.option("-r", "r", metavar="LEVEL", help="owners that must answer: a number, one, quorum or all")
@keyspace_option
@click.pass_obj
def mget(
    settings: Settings, keys: tuple[str, ...], form: str, r: str | None, keyspace: str, is_hex: bool
) -> ExitCode:
    """Print many keys and their values; - reads keys from stdin, one a line.

    A key that is not found, or that cannot be read, is named on stderr, and the exit code is that of the
    worst of them.  With -o json each key has a line with its value or its error.
    """
    return print_many(settings, keys, r, keyspace, is_hex=is_hex, form=form)


def print_many(
    settings: Settings,
    keys: Sequence[str],
    r: str | None,
    keyspace: str,
    *,
    is_hex: bool,
    form: str = KEY_FORMATS[0],
) -> ExitCode:
    """What `mget` does.  Raises InvalidArgument for -o raw, for a level that is none, and for a key."""
    _refuse_raw(settings)
    level = None if r is None else level_named(r, "r")
    tally = _Tally(settings, "read")

    async def run() -> None:
        async with open_client(settings, session=True) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            async for batch in read_aside(in_batches(keys_given(keys, form, is_hex), len)):
                found = await space.mget(batch, r=level)
                outcomes = [NotFound("not found") if each is None else each for each in found]
                for key, outcome in zip(batch, outcomes, strict=True):
                    _print_item(settings, key, outcome, is_hex)
                tally.count(outcomes)
                sys.stdout.flush()

    asyncio.run(run())
    return tally.end()


@click.command()
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="tsv",
    show_default=True,
    help="of stdin: key, tab, value as `ringmill scan` prints them; a JSON object a line; or KEY=VALUE",
)
@click.option("-w", "w", metavar="LEVEL", help="owners that must ack: a number, one, quorum or all")
@click.option(
    "--durability", type=click.Choice(["memory", "buffered", "synced"]), help="as of `ringmill put`  [synced]"
)
@click.option("--ttl", metavar="TIME", help="expire the values after this time, such as 60s, 12h, 30d, 2w")
@keyspace_option
@click.pass_obj
def mput(
    settings: Settings,
    pairs: tuple[str, ...],
    form: str,
    w: str | None,
    durability: str | None,
    ttl: str | None,
    keyspace: str,
    is_hex: bool,
) -> ExitCode:
    """Write many pairs KEY=VALUE; - reads pairs from stdin.

    It is not atomic: each pair is written or fails on its own.  The exit code is that of the worst of them.
    With -o json each pair has a line with its receipt or its error.
    """
    _refuse_raw(settings)
    wanted: ManyPutsSettings = {
        "w": None if w is None else level_named(w, "w"),
        "durability": None if durability is None else durability_named(durability),
        "ttl": None if ttl is None else seconds(ttl),
    }
    tally = _Tally(settings, "written")
    given = pairs_given(pairs, form, is_hex)
    try:
        asyncio.run(_put_all(settings, keyspace, given, wanted, tally, is_hex=is_hex))
    except KeyboardInterrupt as interruption:
        raise Interrupted(
            f"interrupted after {tally.items:,} pairs; some of the next ones may be written",
            hint="putting all of them again does no harm",
            outcome="unknown",
        ) from interruption
    except (InvalidArgument, FileFailed) as error:
        if tally.items:
            error.detail["changed"] = tally.changed()
            error.outcome = "unknown"
        raise
    return tally.end()


async def _put_all(
    settings: Settings,
    keyspace: str,
    given: Iterator[tuple[bytes, bytes]],
    wanted: ManyPutsSettings,
    tally: _Tally,
    *,
    is_hex: bool,
) -> None:
    async with open_client(settings, session=True) as db:
        space: AsyncKeyspace = db if keyspace == "default" else db.keyspace(keyspace)
        async for batch in read_aside(in_batches(given, lambda pair: len(pair[0]) + len(pair[1]))):
            outcomes = await space.mput(batch, **wanted)
            for (key, _), outcome in zip(batch, outcomes, strict=True):
                _print_receipt(settings, key, outcome, is_hex)
            tally.count(outcomes)
            sys.stdout.flush()


def _print_item(settings: Settings, key: bytes, outcome: Item | RingmillError, is_hex: bool) -> None:
    if settings.output == "json":
        document = {"error": _error(outcome)} if isinstance(outcome, RingmillError) else outcome.to_dict()
        print(output.to_json({**json_bytes("key", key), **document}, sys.stdout))
        return
    name = _field(key, is_hex)
    if isinstance(outcome, RingmillError):
        output.note(f"{name}: {outcome.message}")
        return
    for value in outcome.siblings:
        gap = "  " if settings.is_terminal else "\t"
        print(f"{output.paint(settings, name, 'bold')}{gap}{_field(value, is_hex)}")


def _print_receipt(settings: Settings, key: bytes, outcome: Receipt | RingmillError, is_hex: bool) -> None:
    if settings.output == "json":
        document = {"error": _error(outcome)} if isinstance(outcome, RingmillError) else outcome.to_dict()
        print(output.to_json({**json_bytes("key", key), **document}, sys.stdout))
        return
    name = _field(key, is_hex)
    if isinstance(outcome, RingmillError):
        output.note(f"{name}: {outcome.outcome}: {outcome.message}")
    elif not settings.is_terminal:
        print(f"OK\t{name}\t{outcome.dot}")
    elif settings.verbose:
        print(f"OK  {name}  {outcome.dot}")


def _field(data: bytes, is_hex: bool) -> str:
    return data.hex() if is_hex else field_of(data)


def _error(error: RingmillError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "outcome": error.outcome}


def _refuse_raw(settings: Settings) -> None:
    if settings.output == "raw":
        raise InvalidArgument("-o raw prints one value", hint="-o json prints keys and values of any bytes")
