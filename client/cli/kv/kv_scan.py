"""`ringmill scan`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from ringmill.client.arguments import level_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.failure_text import Interrupted
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.kv.fields import field_of
from ringmill.client.cli.kv.kv_arguments import key_of, keyspace_option
from ringmill.client.scans.async_scan import AsyncScan, ScanSettings
from ringmill.client.values import Item, json_bytes
from ringmill.cluster.errors import InvalidArgument, RingmillError

__all__ = ["scan"]


@click.command()
@click.option("--prefix", default="", metavar="P", help="only keys that begin with P")
@click.option("--from", "start", metavar="K", help="only keys from K on")
@click.option("--to", "end", metavar="K", help="only keys before K")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="at most N keys")
@click.option("--keys-only", is_flag=True, help="print keys without values")
@click.option("--cursor", metavar="C", help="go on where another scan ended; it knows its prefix and range")
@click.option("-r", "r", metavar="LEVEL", help="owners that must answer: a number, one, quorum or all")
@keyspace_option
@click.pass_obj
def scan(
    settings: Settings,
    prefix: str,
    start: str | None,
    end: str | None,
    limit: int | None,
    keys_only: bool,
    cursor: str | None,
    r: str | None,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Print all keys with a value, and their values.

    The order is that of the partitions, and within each that of the keys.  --timeout is for each page of up
    to 1,000 keys.  A scan that --limit ends prints the cursor that goes on.
    """
    if settings.output == "raw" and not keys_only:
        raise InvalidArgument(
            "-o raw prints keys alone: add --keys-only", hint="-o json prints keys and values of any bytes"
        )
    wanted: ScanSettings = {
        "prefix": key_of(prefix, is_hex),
        "start": None if start is None else key_of(start, is_hex),
        "end": None if end is None else key_of(end, is_hex),
        "limit": limit,
        "keys_only": keys_only,
        "cursor": cursor,
        "r": None if r is None else level_named(r, "r"),
    }
    keys = asyncio.run(_run(settings, keyspace, wanted, is_hex))
    if settings.is_terminal:
        output.note(f"{keys:,} key{'' if keys == 1 else 's'}")


async def _run(settings: Settings, keyspace: str, wanted: ScanSettings, is_hex: bool) -> int:
    """Print page after page.  Returns how many keys there were."""
    keys = 0
    async with open_client(settings) as db:
        space = db if keyspace == "default" else db.keyspace(keyspace)
        scanning = space.scan(**wanted)
        try:
            while page := await scanning.page():
                for key, item in page:
                    _print(settings, key, item, is_hex=is_hex, keys_only=wanted["keys_only"])
                sys.stdout.flush()
                keys += len(page)
        except RingmillError as error:
            _point_on(error, scanning, keys)
            raise
        except asyncio.CancelledError:  # Ctrl-C
            stopped = Interrupted(f"the scan was interrupted after {keys} keys", outcome="failed")
            _point_on(stopped, scanning, keys)
            raise stopped from None
    if scanning.cursor:
        _print_cursor(settings, scanning.cursor)
    return keys


def _point_on(error: RingmillError, scanning: AsyncScan, keys: int) -> None:
    """Tell in the error where another scan would go on."""
    if scanning.cursor:
        error.detail["cursor"] = scanning.cursor
        error.hint = f"`ringmill scan --cursor {scanning.cursor}` goes on behind the {keys:,} keys above"


def _print_cursor(settings: Settings, cursor: str) -> None:
    if settings.output == "json":
        print(output.to_json({"cursor": cursor}, sys.stdout))
    else:
        output.advise(settings, f"there may be more: `ringmill scan --cursor {cursor}`")


def _print(settings: Settings, key: bytes, item: Item, *, is_hex: bool, keys_only: bool) -> None:
    if settings.output == "json":
        print(output.to_json(_document(key, item, keys_only=keys_only), sys.stdout))
        return
    if settings.output == "raw":
        sys.stdout.flush()
        sys.stdout.buffer.write(key + b"\n")
        return
    name = key.hex() if is_hex else field_of(key)
    if keys_only:
        print(name)
        return
    for value in item.siblings:
        shown = value.hex() if is_hex else field_of(value)
        print(
            f"{output.paint(settings, name, 'bold')}  {shown}" if settings.is_terminal else f"{name}\t{shown}"
        )


def _document(key: bytes, item: Item, *, keys_only: bool) -> dict[str, Any]:
    if keys_only:
        return {**json_bytes("key", key)}
    found = item.to_dict()
    del found["answered"], found["repaired"]  # of a single read
    return {**json_bytes("key", key), **found}
