"""`ringmill cas`, `ringmill incr` and `ringmill register`: values that a majority agrees on."""

from __future__ import annotations

import asyncio

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.kv.kv_arguments import key_of, value_of
from ringmill.client.registers.registers import RegisterValue
from ringmill.cluster.errors import InvalidArgument, NotFound

__all__ = ["cas", "incr", "register"]

_keyspace = click.option(
    "--keyspace", default="registers", metavar="NAME", help="keyspace of the key  [registers]"
)


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@click.option("--expect", metavar="VALUE", help="the value that the register has to hold")
@click.option("--expect-absent", is_flag=True, help="the register must have no value")
@click.option(
    "--expect-version", type=click.IntRange(min=0), metavar="N", help="the version that it has to be in"
)
@click.option("--file", metavar="PATH", help="read VALUE from a file")
@click.option("--delete", is_flag=True, help="delete the register; there is no VALUE then")
@_keyspace
@click.option("--hex", "is_hex", is_flag=True, help="KEY and values are written in hexadecimal digits")
@click.pass_obj
def cas(
    settings: Settings,
    key: str,
    value: str | None,
    expect: str | None,
    expect_absent: bool,
    expect_version: int | None,
    file: str | None,
    delete: bool,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Set the register KEY to VALUE if it holds what is expected.

    The exit code is 4 when it holds something else, which the error shows.
    """
    if (expect is not None) + expect_absent + (expect_version is not None) != 1:
        raise InvalidArgument(
            "say once what the register has to hold: --expect VALUE, --expect-absent or --expect-version N",
            hint="ringmill cas leader n1 --expect-absent",
        )
    if delete and (value is not None or file is not None):
        raise InvalidArgument("--delete takes no VALUE and no --file")
    name, new = key_of(key, is_hex), None if delete else value_of(value, file, is_hex)
    expected = None if expect is None else value_of(expect, None, is_hex)

    async def ask() -> int:
        async with open_client(settings) as db:
            if expect_version is not None:
                return await db.registers.keyspace(keyspace).cas(name, new, expect_version=expect_version)
            return await db.registers.keyspace(keyspace).cas(name, new, expect=expected)

    version = asyncio.run(ask())
    if settings.output == "json":
        output.show(settings, {"version": version}, (), ())
    else:
        click.echo(f"version {version}")


@click.command()
@click.argument("key")
@click.option("--by", type=int, default=1, metavar="N", help="what to add; may be negative  [1]")
@_keyspace
@click.option("--hex", "is_hex", is_flag=True, help="KEY is written in hexadecimal digits")
@click.pass_obj
def incr(settings: Settings, key: str, by: int, keyspace: str, is_hex: bool) -> None:
    """Add to the number in the register KEY, once, and print what it led to."""
    name = key_of(key, is_hex)

    async def ask() -> int:
        async with open_client(settings) as db:
            return await db.registers.keyspace(keyspace).incr(name, by)

    number = asyncio.run(ask())
    if settings.output == "json":
        output.show(settings, {"number": number}, (), ())
    else:
        click.echo(str(number))


@click.command()
@click.argument("key")
@_keyspace
@click.option("--hex", "is_hex", is_flag=True, help="KEY is written in hexadecimal digits")
@click.pass_obj
def register(settings: Settings, key: str, keyspace: str, is_hex: bool) -> None:
    """Print what the register KEY holds: the newest value that a majority has agreed on."""
    name = key_of(key, is_hex)

    async def ask() -> RegisterValue:
        async with open_client(settings) as db:
            return await db.registers.keyspace(keyspace).get(name)

    found = asyncio.run(ask())
    if found.value is None:
        raise NotFound(f"not found: {key}", detail={"version": found.version})
    if settings.output == "json":
        output.show(settings, found.to_dict(), (), ())
    elif settings.output == "raw":
        output.write_bytes(found.value)
    else:
        output.show_bytes(settings, found.value, is_hex=is_hex)
        if settings.verbose:
            output.note(f"version {found.version}")
