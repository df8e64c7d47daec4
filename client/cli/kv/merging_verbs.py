"""The verbs of counters, sets and maps (client/merging/mergeables.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.client.cli.kv.kv_arguments import key_of, value_of
from ringmill.client.connection import AsyncClient
from ringmill.client.values import Receipt, json_bytes

__all__ = [
    "add_element",
    "count",
    "put_entry",
    "remove_element",
    "remove_entry",
    "show_count",
    "show_elements",
    "show_entries",
]

Answer = TypeVar("Answer")

_hex = click.option("--hex", "is_hex", is_flag=True, help="all names and values are hexadecimal digits")
_ttl = click.option("--ttl", metavar="TIME", help="let it expire after this time, such as 60s, 12h, 30d, 2w")


def _keyspace(policy: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    what = f"a keyspace of policy {policy}"
    return click.option("--keyspace", required=True, metavar="NAME", help=what)


@click.command("add")
@click.argument("key")
@click.argument("amount", type=int, default=1)
@_keyspace("counter")
@_hex
@click.pass_obj
def count(settings: Settings, key: str, amount: int, keyspace: str, is_hex: bool) -> None:
    """Add AMOUNT, which is 1 unless given, to the counter KEY; after -- it may be negative."""
    name = key_of(key, is_hex)
    _show_receipt(settings, _ask(settings, lambda db: db.counters(keyspace).add(name, amount)))


@click.command("get")
@click.argument("key")
@_keyspace("counter")
@_hex
@click.pass_obj
def show_count(settings: Settings, key: str, keyspace: str, is_hex: bool) -> None:
    """Print the count of KEY; 0 if it was never counted."""
    name = key_of(key, is_hex)
    number = _ask(settings, lambda db: db.counters(keyspace).get(name))
    output.show(settings, {**json_bytes("key", name), "count": number}, (), [(str(number),)])


@click.command("add")
@click.argument("key")
@click.argument("element")
@_ttl
@_keyspace("set")
@_hex
@click.pass_obj
def add_element(
    settings: Settings, key: str, element: str, ttl: str | None, keyspace: str, is_hex: bool
) -> None:
    """Add ELEMENT to the set KEY."""
    name, data = key_of(key, is_hex), value_of(element, None, is_hex)
    ttl_s = None if ttl is None else seconds(ttl)
    _show_receipt(settings, _ask(settings, lambda db: db.sets(keyspace).add(name, data, ttl=ttl_s)))


@click.command("remove")
@click.argument("key")
@click.argument("element")
@_keyspace("set")
@_hex
@click.pass_obj
def remove_element(settings: Settings, key: str, element: str, keyspace: str, is_hex: bool) -> None:
    """Remove ELEMENT from the set KEY."""
    name, data = key_of(key, is_hex), value_of(element, None, is_hex)
    _show_receipt(settings, _ask(settings, lambda db: db.sets(keyspace).remove(name, data)))


@click.command("get")
@click.argument("key")
@_keyspace("set")
@_hex
@click.pass_obj
def show_elements(settings: Settings, key: str, keyspace: str, is_hex: bool) -> None:
    """Print the elements of the set KEY, sorted, one a line."""
    name = key_of(key, is_hex)
    elements = sorted(_ask(settings, lambda db: db.sets(keyspace).get(name)))
    documents = [json_bytes("element", element) for element in elements]
    rows = [(_shown(element, is_hex),) for element in elements]
    output.show(settings, {**json_bytes("key", name), "elements": documents}, (), rows)


@click.command("put")
@click.argument("key")
@click.argument("entry")
@click.argument("value", required=False)
@click.option("--file", type=click.Path(), metavar="PATH", help="read the value from a file")
@_ttl
@_keyspace("map")
@_hex
@click.pass_obj
def put_entry(
    settings: Settings,
    key: str,
    entry: str,
    value: str | None,
    file: str | None,
    ttl: str | None,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Set ENTRY of the map KEY to VALUE (- for stdin)."""
    name, field, data = key_of(key, is_hex), value_of(entry, None, is_hex), value_of(value, file, is_hex)
    ttl_s = None if ttl is None else seconds(ttl)
    _show_receipt(settings, _ask(settings, lambda db: db.maps(keyspace).put(name, field, data, ttl=ttl_s)))


@click.command("remove")
@click.argument("key")
@click.argument("entry")
@_keyspace("map")
@_hex
@click.pass_obj
def remove_entry(settings: Settings, key: str, entry: str, keyspace: str, is_hex: bool) -> None:
    """Remove ENTRY from the map KEY."""
    name, field = key_of(key, is_hex), value_of(entry, None, is_hex)
    _show_receipt(settings, _ask(settings, lambda db: db.maps(keyspace).remove(name, field)))


@click.command("get")
@click.argument("key")
@_keyspace("map")
@_hex
@click.pass_obj
def show_entries(settings: Settings, key: str, keyspace: str, is_hex: bool) -> None:
    """Print the entries of the map KEY, sorted by name."""
    name = key_of(key, is_hex)
    entries = _ask(settings, lambda db: db.maps(keyspace).get(name))
    documents = [
        {**json_bytes("entry", field), **json_bytes("value", data)} for field, data in entries.items()
    ]
    rows = [(_shown(field, is_hex), _shown(data, is_hex)) for field, data in entries.items()]
    output.show(settings, {**json_bytes("key", name), "entries": documents}, (), rows)


def _ask(settings: Settings, ask: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with open_client(settings) as db:
            return await ask(db)

    return asyncio.run(run())


def _show_receipt(settings: Settings, receipt: Receipt) -> None:
    acked = ", ".join(ack.node for ack in receipt.replicas if ack.role == "owner")
    output.show(settings, receipt.to_dict(), (), [("OK", receipt.dot, f"acked by {acked}")])


def _shown(data: bytes, is_hex: bool) -> str:
    return data.hex() if is_hex else output.text_of(data)
