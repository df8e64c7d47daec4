"""`ringmill keyspace create`, `list`, `show`, `alter` and `drop`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from ringmill.client.arguments import durability_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.administration.keyspaces import AsyncKeyspaces, KeyspaceInfo

__all__ = ["alter", "create", "drop", "list_keyspaces", "show"]

_COLUMNS = ("NAME", "KIND", "POLICY", "R", "W", "TTL", "DURABILITY", "QUORUM", "MADE IN")
_OWNERS = click.IntRange(1, 1000)
T = TypeVar("T")


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(["objects", "registers"]), default="objects", show_default=True,
    help="what its keys hold: objects, written by put, or registers, changed by cas and incr",
)  # fmt: skip
@click.option(
    "--policy", default="siblings", show_default=True, metavar="POLICY",
    help="what becomes of concurrent writes: all are shown (siblings), the last one is (lww), or they merge"
    " (counter, set, map)",
)  # fmt: skip
@click.option("-r", "r", type=_OWNERS, metavar="N", help="owners that a read asks  [a majority]")
@click.option("-w", "w", type=_OWNERS, metavar="N", help="owners that ack a write  [a majority]")
@click.option("--ttl", metavar="SPAN", help='how long values live, as in "30d"  [forever]')
@click.option(
    "--durability", metavar="HOW", help="how firmly owners hold what they ack: synced, buffered or memory"
)
@click.option(
    "--sloppy", is_flag=True,
    help="other nodes stand in for owners that cannot be reached; reads may miss writes for a while"
    "  [only owners count]",
)  # fmt: skip
@click.pass_obj
def create(
    settings: Settings,
    name: str,
    kind: str,
    policy: str,
    r: int | None,
    w: int | None,
    ttl: str | None,
    durability: str | None,
    sloppy: bool,
) -> None:
    """Make the keyspace NAME; one that exists with these settings is fine.

    -r, -w, --ttl and --durability are what its requests mean when they do not say.  --sloppy cannot be
    changed later.
    """
    ttl_s = None if ttl is None else seconds(ttl)
    firm = None if durability is None else durability_named(durability)
    made = _ask(
        settings,
        lambda keyspaces: keyspaces.create(
            name,
            kind=kind,
            policy=policy,
            r=r,
            w=w,
            ttl=ttl_s,
            durability=firm,
            quorum="sloppy" if sloppy else "strict",
        ),
    )
    _tell(settings, made, "made" if made.changed else "was there with these settings")
    verb = "put" if kind == "objects" else "incr"
    output.next_command(settings, f"ringmill {verb} --keyspace {name} …")


@click.command("list")
@click.pass_obj
def list_keyspaces(settings: Settings) -> None:
    """List the keyspaces, in the order in which they were made."""
    found = _ask(settings, lambda keyspaces: keyspaces.list())
    output.show(settings, [_document(info) for info in found], _COLUMNS, [_row(info) for info in found])


@click.command()
@click.argument("name")
@click.pass_obj
def show(settings: Settings, name: str) -> None:
    """Show the settings of the keyspace NAME."""
    info = _ask(settings, lambda keyspaces: keyspaces.show(name))
    rows = [(column.lower(), value or "-") for column, value in zip(_COLUMNS, _row(info), strict=True)]
    output.fields(settings, _document(info), rows)


@click.command()
@click.argument("name")
@click.option(
    "-r", "r", type=_OWNERS, metavar="N", help="owners that a read asks; refused unless it is what it was"
)
@click.option(
    "-w", "w", type=_OWNERS, metavar="N", help="owners that ack a write; refused unless it is what it was"
)
@click.option("--ttl", metavar="SPAN", help='how long new values live, as in "30d"; "0s" is forever')
@click.option("--durability", metavar="HOW", help="synced, buffered or memory")
@click.pass_obj
def alter(
    settings: Settings, name: str, r: int | None, w: int | None, ttl: str | None, durability: str | None
) -> None:
    """Change what requests to the keyspace NAME mean when they do not say; what is not given stays."""
    if all(given is None for given in (r, w, ttl, durability)):
        raise InvalidArgument(
            "nothing is to be changed", hint=f"ringmill keyspace alter {name} --ttl 30d, for example"
        )
    ttl_s = None if ttl is None else seconds(ttl)
    firm = None if durability is None else durability_named(durability)
    altered = _ask(settings, lambda keyspaces: keyspaces.alter(name, r=r, w=w, ttl=ttl_s, durability=firm))
    _tell(settings, altered, "changed" if altered.changed else "had these settings")


@click.command()
@click.argument("name")
@click.pass_obj
def drop(settings: Settings, name: str) -> None:
    """Take the keyspace NAME away: its keys cannot be reached any more, by anybody."""
    epoch = _ask(settings, lambda keyspaces: keyspaces.drop(name))
    if settings.output == "json":
        output.show(settings, {"name": name, "epoch": epoch}, (), ())
    else:
        click.echo(f"{name} was dropped (epoch {epoch})")


def _ask(settings: Settings, question: Callable[[AsyncKeyspaces], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with open_client(settings) as db:
            return await question(db.keyspaces)

    return asyncio.run(ask())


def _tell(settings: Settings, info: KeyspaceInfo, what: str) -> None:
    if settings.output == "json":
        output.show(settings, {**_document(info), "changed": info.changed}, (), ())
    else:
        click.echo(f"{info.name} {what} (epoch {info.epoch})")


def _document(info: KeyspaceInfo) -> dict[str, object]:
    document = {name: value for name, value in info.to_dict().items() if name != "changed"}
    return {**document, "durability": _typed(info.durability)}


def _row(info: KeyspaceInfo) -> tuple[object, ...]:
    ttl = None if not info.ttl_s else output.span(info.ttl_s) if info.ttl_s >= 1 else f"{info.ttl_s:g} s"
    return (
        info.name,
        info.kind,
        info.policy,
        info.r,
        info.w,
        ttl,
        _typed(info.durability),
        info.quorum,
        info.made_in,
    )


def _typed(durability: str) -> str:
    """A durability as --durability takes it; topology documents have the shorter word of older releases."""
    return "synced" if durability == "sync" else durability
