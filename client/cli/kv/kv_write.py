"""`ringmill put` and `ringmill delete`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeAlias, TypeVar, cast

import click

from ringmill.client.arguments import durability_named, level_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.failure_text import Interrupted
from ringmill.client.cli.console.settings import Settings, seconds
from ringmill.client.cli.console.suggested_commands import typed_key
from ringmill.client.cli.kv.kv_arguments import context_of, key_of, keyspace_option, value_of
from ringmill.client.cli.kv.session_file import kept_session, session_option
from ringmill.client.kv import AsyncKeyspace, write
from ringmill.client.kv_requests import put_options
from ringmill.client.session_memory import SessionMemory
from ringmill.client.values import Receipt, json_bytes
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.printable import printable
from ringmill.cluster.wire.request_options import WriteOptions

__all__ = ["ask_and_show", "delete", "durability_option", "level_option", "put", "ttl_s_of"]

Verb = TypeVar("Verb", bound=Callable[..., object])
Ask: TypeAlias = Callable[[AsyncKeyspace, SessionMemory | None], Awaitable[Receipt]]

level_option = click.option(
    "-w", "w", metavar="LEVEL", help="owners that must ack: a number, one, quorum or all"
)
durability_option = click.option(
    "--durability",
    type=click.Choice(["memory", "buffered", "synced", "sync"]),
    metavar="[memory|buffered|synced]",
    help="what an owner does before it acks: memory, buffered (handed to the system)"
    " or synced (on its disk)  [the keyspace's: synced unless it says otherwise]",
)


def takes_write_options(verb: Verb) -> Verb:
    """Add the flags of a write; the verb gets them, and the --ttl of `put`, as one value, `options`."""

    @wraps(verb)
    def with_options(
        *rest: Any,
        w: str | None,
        durability: str | None,
        context: str | None,
        no_context: bool,
        ttl: str | None = None,
        **named: Any,
    ) -> object:
        options = put_options(
            w=None if w is None else level_named(w, "w"),
            durability=None if durability is None else durability_named(durability),
            context=context_of(context, no_context),
            ttl=None if ttl is None else ttl_s_of(ttl, key_of(named["key"], named["is_hex"])),
        )
        return verb(*rest, options=options, **named)

    flagged: Callable[..., object] = with_options
    for option in (
        click.option("--no-context", is_flag=True, help="write without a causal context: adds a sibling"),
        click.option(
            "--context", metavar="TOKEN", help="replace the values that the read with this context returned"
        ),
        durability_option,
        level_option,
    ):
        flagged = option(flagged)
    flagged = session_option(flagged)
    return cast("Verb", flagged)


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@click.option("--file", type=click.Path(), metavar="PATH", help="read the value from a file")
@click.option("--ttl", metavar="TIME", help="expire the value after this time, such as 60s, 12h, 30d, 2w")
@takes_write_options
@keyspace_option
@click.pass_obj
def put(
    settings: Settings,
    key: str,
    value: str | None,
    file: str | None,
    options: WriteOptions,
    session: str | None,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Write VALUE (- for stdin) to KEY."""
    name = key_of(key, is_hex)
    content = value_of(value, file, is_hex)
    ask_and_show(
        settings,
        "put",
        name,
        keyspace,
        session,
        lambda space, memory: write(space, name, content, options, memory),
    )
    output.next_command(settings, f"ringmill get {typed_key(name)}", f"ringmill locate {typed_key(name)}")


@click.command()
@click.argument("key")
@takes_write_options
@keyspace_option
@click.pass_obj
def delete(
    settings: Settings, key: str, options: WriteOptions, session: str | None, keyspace: str, is_hex: bool
) -> None:
    """Delete KEY by writing a tombstone."""
    name = key_of(key, is_hex)
    ask_and_show(
        settings,
        "delete",
        name,
        keyspace,
        session,
        lambda space, memory: write(space, name, None, options, memory),
    )
    output.next_command(settings, f"ringmill locate {typed_key(name)}")


def ttl_s_of(ttl: str, key: bytes) -> float:
    ttl_s = seconds(ttl)
    if ttl_s <= 0:
        raise InvalidArgument(f"--ttl {ttl} is not above 0", hint=f"`ringmill delete {typed_key(key)}`")
    return ttl_s


def ask_and_show(
    settings: Settings, verb: str, key: bytes, keyspace: str, session: str | None, ask: Ask
) -> None:
    """Write and show the receipt.  Raises Interrupted, with outcome unknown, on Ctrl-C."""

    async def run() -> tuple[Receipt, float]:
        async with open_client(settings) as db:
            space = db if keyspace == "default" else db.keyspace(keyspace)
            with kept_session(session, db) as memory:
                begun = time.perf_counter()
                receipt = await ask(space, memory)
            return receipt, (time.perf_counter() - begun) * 1000

    try:
        receipt, took_ms = asyncio.run(run())
    except KeyboardInterrupt as interruption:
        raise Interrupted(
            f"the {verb} of {printable(output.text_of(key))} was interrupted",
            hint=f"`ringmill get {typed_key(key)}` shows the current value; the {verb} may be repeated",
            outcome="unknown",
        ) from interruption
    document = {
        **json_bytes("key", key),
        "dot": receipt.dot,
        "context": receipt.context.text if receipt.context else None,
        "epoch": receipt.epoch,
        "w": receipt.w,
        "weak": receipt.weak,
        "replicas": [ack.to_dict() for ack in receipt.replicas],
        "ms": round(took_ms, 1),
    }
    acked = ", ".join(
        ack.node
        if ack.role == "owner"
        else f"{ack.node} ({ack.role}{' for ' if ack.stands_for else ''}{ack.stands_for})"
        for ack in receipt.replicas
    )
    row = ("OK", output.text_of(key), receipt.dot, f"acked by {acked}", f"{took_ms:.1f} ms")
    if settings.output == "json" or not settings.is_terminal:
        output.show(settings, document, (), [row])
    else:
        print(printable("  ".join(row)))
