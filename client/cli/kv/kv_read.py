"""`ringmill get` and `ringmill locate`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import click

from ringmill.client.arguments import level_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.suggested_commands import typed_key
from ringmill.client.cli.kv.kv_arguments import key_of, keyspace_option
from ringmill.client.cli.kv.kv_many import print_many
from ringmill.client.cli.kv.kv_watch import watch_key
from ringmill.client.cli.kv.session_file import kept_session, session_option
from ringmill.client.kv import read
from ringmill.client.kv_requests import MISSING, read_options
from ringmill.client.values import Item, Location, OwnerCopy, json_bytes
from ringmill.cluster.errors import InvalidArgument, NotFound, UnresolvedSiblings
from ringmill.cluster.printable import printable

__all__ = ["get", "locate"]


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("-r", "r", metavar="LEVEL", help="owners that must answer: a number, one, quorum or all")
@click.option("--watch", is_flag=True, help="print the value again whenever it changes, as `ringmill watch`")
@click.option(
    "--sibling", type=click.IntRange(min=1), metavar="N", help="print only the Nth sibling; 1 is the newest"
)
@click.option("--info", is_flag=True, help="also print the dot of each value, and how long it still lives")
@session_option
@keyspace_option
@click.pass_obj
def get(
    settings: Settings,
    keys: tuple[str, ...],
    r: str | None,
    watch: bool,
    sibling: int | None,
    info: bool,
    session: str | None,
    keyspace: str,
    is_hex: bool,
) -> ExitCode:
    """Print the value of KEY.  If it has siblings, print one per line, newest first.

    Several keys are printed beside their values, as `ringmill mget` does.
    """
    if watch or len(keys) > 1:
        _check_plain(len(keys), {"--sibling": sibling, "--info": info, "--session": session}, is_watch=watch)
        if watch:
            watch_key(settings, keys[0], keyspace, r=r, is_hex=is_hex)
            return ExitCode.DONE
        return print_many(settings, keys, r, keyspace, is_hex=is_hex)
    name, options = key_of(keys[0], is_hex), read_options(r=None if r is None else level_named(r, "r"))

    async def get_item() -> tuple[Item, float]:
        async with open_client(settings) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            with kept_session(session, db) as memory:
                begun = time.perf_counter()
                item = await read(space, name, options, MISSING, memory)
            return item, (time.perf_counter() - begun) * 1000

    try:
        item, took_ms = asyncio.run(get_item())
    except NotFound as error:
        error.hint = f"`ringmill locate {typed_key(name)}` shows what each owner holds of it"
        raise
    if settings.output == "json":
        output.show(settings, _document(name, item, took_ms), (), ())
    elif settings.output == "raw":
        output.write_bytes(_one_of(item, sibling))
    else:
        shown = item.siblings if sibling is None else (_one_of(item, sibling),)
        for value in shown:
            output.show_bytes(settings, value, is_hex=is_hex)
        if len(item.siblings) > 1:
            output.note(f"{len(item.siblings)} siblings: concurrent writes that nobody has resolved")
            resolve = f"ringmill put --context {item.context.text} {typed_key(name)} VALUE"
            output.next_command(settings, f"{resolve}   (resolves them)")
        if info:
            _print_info(item)
        if settings.verbose:
            output.note(f"dots {' '.join(item.dots)}  answered {' '.join(item.answered)}  {took_ms:.1f} ms")
    return ExitCode.DONE


def _check_plain(count: int, given: Mapping[str, object], *, is_watch: bool) -> None:
    """Raise InvalidArgument for flags that are only of one key, read once."""
    for flag, value in given.items():
        if value:
            raise InvalidArgument(
                f"{flag} is for one key{', read once' if is_watch else ''}", hint=f"leave {flag} out"
            )
    if is_watch and count > 1:
        raise InvalidArgument(f"--watch takes one key, not {count}", hint="`ringmill watch --prefix P`")


@click.command()
@click.argument("key")
@keyspace_option
@click.pass_obj
def locate(settings: Settings, key: str, keyspace: str, is_hex: bool) -> None:
    """Show the partition of KEY, its owners and what each owner holds now."""
    name = key_of(key, is_hex)

    async def ask() -> Location:
        async with open_client(settings) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            return await space.locate(name)

    found = asyncio.run(ask())
    if settings.is_terminal:
        place = f"position {found.position:#018x}  partition {found.partition}  epoch {found.epoch}"
        then = f"  then {' '.join(found.fallbacks)}" if found.fallbacks else ""
        print(f"{printable(output.text_of(name))}  {place}{then}")
    document = {
        **json_bytes("key", name),
        "position": found.position,
        "partition": found.partition,
        "epoch": found.epoch,
        "owners": [_owner(owner) for owner in found.owners],
        "fallbacks": list(found.fallbacks),
    }
    rows = [(one.node, one.state, _held(one, time.time()), _verdict(one)) for one in found.owners]
    output.show(settings, document, ("OWNER", "STATE", "DOTS", "COPY"), rows)


def _document(key: bytes, item: Item, took_ms: float) -> dict[str, Any]:
    return {**json_bytes("key", key), **item.to_dict(), "ms": round(took_ms, 1)}


def _one_of(item: Item, sibling: int | None) -> bytes:
    """The one value to print.  Raises when there are several to choose from, or no such sibling."""
    if sibling is None:
        if len(item.siblings) > 1:
            raise UnresolvedSiblings(
                f"the key holds {len(item.siblings)} siblings, but -o raw prints one",
                detail={"siblings": len(item.siblings)},
                hint="--sibling 1 names the newest; a write with --context resolves them",
            )
        return item.newest
    if sibling > len(item.siblings):
        raise NotFound(f"there is no sibling {sibling}; the key holds {len(item.siblings)}")
    return item.siblings[sibling - 1]


def _print_info(item: Item) -> None:
    """A line for each value, newest first, beside the output."""
    for dot, left_s in zip_longest(item.dots, item.ttls):
        output.note(f"{dot}  {'never expires' if left_s is None else f'expires in {output.span(left_s)}'}")


def _owner(owner: OwnerCopy) -> dict[str, Any]:
    document: dict[str, Any] = {
        "node": owner.node,
        "state": owner.state,
        "dots": list(owner.dots),
        "tombstones": list(owner.tombstones),
        "expires_at_ms": list(owner.expires_at_ms),
        "same": owner.same,
        "answered": owner.answered,
    }
    return {**document, "error": owner.error} if owner.error else document


def _held(owner: OwnerCopy, now_s: float) -> str:
    """The writes that an owner holds; each says whether it is a tombstone, expired or will expire."""
    fates = zip_longest(owner.dots, owner.tombstones, owner.expires_at_ms, fillvalue=0)
    return ", ".join(f"{dot}{_fate(bool(gone), ms / 1000, now_s)}" for dot, gone, ms in fates) or "-"


def _fate(is_deleted: bool, expires_at_s: float, now_s: float) -> str:
    if is_deleted:
        return " deleted"
    if not expires_at_s:
        return ""
    left_s = expires_at_s - now_s
    return f" expires in {output.span(left_s)}" if left_s > 0 else " expired"


def _verdict(owner: OwnerCopy) -> str:
    if not owner.answered:
        return f"no answer: {owner.error or owner.state}"
    return "same" if owner.same else "differs (a read repairs it)"
