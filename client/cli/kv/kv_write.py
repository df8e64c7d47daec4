"""`ringmill put` and `ringmill delete`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from ringmill.client.cli.frame import output
from ringmill.client.cli.frame.calling import typed_key
from ringmill.client.cli.frame.connecting import open_client
from ringmill.client.cli.frame.failures import Interrupted
from ringmill.client.cli.frame.settings import Settings, seconds
from ringmill.client.cli.kv.kv_arguments import context_of, key_of, keyspace_option, levels_of, value_of
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.values import Receipt
from ringmill.cluster.errors import InvalidArgument

__all__ = ["delete", "put"]

Verb = TypeVar("Verb", bound=Callable[..., object])


def write_options(verb: Verb) -> Verb:
    for option in (
        click.option("--no-context", is_flag=True, help="as one who read nothing: becomes a sibling"),
        click.option("--context", metavar="TOKEN", help="replaces what a read with this context saw"),
        click.option("--durability", type=click.Choice(["memory", "buffered", "sync"]), default="sync"),
        click.option("-w", "w", metavar="LEVEL", help="owners that must have it: number, one, quorum, all"),
    ):
        verb = option(verb)
    return verb


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@click.option("--file", type=click.Path(), metavar="PATH", help="take the value from a file")
@click.option("--ttl", metavar="TIME", help="forget it after this time: 60s, 12h, 30d, 2w")
@write_options
@keyspace_option
@click.pass_obj
def put(
    settings: Settings,
    key: str,
    value: str | None,
    file: str | None,
    ttl: str | None,
    w: str | None,
    durability: str,
    context: str | None,
    no_context: bool,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Write VALUE (- for stdin) under KEY."""
    need, held = levels_of(w, durability)
    name, data = key_of(key, is_hex), value_of(value, file, is_hex)
    told = context_of(context, no_context)
    ttl_s = None if ttl is None else seconds(ttl)
    if ttl_s is not None and ttl_s <= 0:
        raise InvalidArgument(f"--ttl {ttl} is not above 0", hint=f"`ringmill delete {typed_key(name)}`")

    async def write(space: AsyncKeyspace) -> Receipt:
        return await space.put(name, data, context=told, w=need, durability=held, ttl=ttl_s)

    _write(settings, "put", name, keyspace, write)
    output.next_command(settings, f"ringmill get {typed_key(name)}", f"ringmill locate {typed_key(name)}")


@click.command()
@click.argument("key")
@write_options
@keyspace_option
@click.pass_obj
def delete(
    settings: Settings,
    key: str,
    w: str | None,
    durability: str,
    context: str | None,
    no_context: bool,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Write a tombstone under KEY."""
    need, held = levels_of(w, durability)
    name, told = key_of(key, is_hex), context_of(context, no_context)

    async def write(space: AsyncKeyspace) -> Receipt:
        return await space.delete(name, context=told, w=need, durability=held)

    _write(settings, "delete", name, keyspace, write)
    output.next_command(settings, f"ringmill locate {typed_key(name)}")


def _write(
    settings: Settings,
    verb: str,
    key: bytes,
    keyspace: str,
    write: Callable[[AsyncKeyspace], Awaitable[Receipt]],
) -> None:
    """Do the write and show its receipt.  Raises Interrupted, with its outcome unknown, on Ctrl-C."""

    async def run() -> tuple[Receipt, float]:
        async with open_client(settings) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            begun = time.perf_counter()
            receipt = await write(space)
            return receipt, (time.perf_counter() - begun) * 1000

    try:
        receipt, took_ms = asyncio.run(run())
    except KeyboardInterrupt as interruption:
        raise Interrupted(
            f"the {verb} of {output.printable(output.text_of(key))} was interrupted",
            hint=f"`ringmill get {typed_key(key)}` shows what holds; a {verb} may be sent again",
            outcome="unknown",
        ) from interruption
    document = {
        **output.json_bytes("key", key),
        "dot": receipt.dot,
        "context": receipt.context.text if receipt.context else None,
        "epoch": receipt.epoch,
        "w": receipt.w,
        "weak": receipt.weak,
        "replicas": [
            {"node": ack.node, "role": ack.role, "durability": ack.durability} for ack in receipt.replicas
        ],
        "ms": round(took_ms, 1),
    }
    acked = ", ".join(
        ack.node if ack.role == "owner" else f"{ack.node} ({ack.role})" for ack in receipt.replicas
    )
    row = ("OK", output.text_of(key), receipt.dot, f"acked by {acked}", f"{took_ms:.1f} ms")
    if settings.output == "json" or not settings.is_terminal:
        output.show(settings, document, (), [row])
    else:
        print(output.printable("  ".join(row)))
