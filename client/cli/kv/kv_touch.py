"""`ringmill touch`: gives the present value of a key a new time to live, without sending the value."""

from __future__ import annotations

import click

from ringmill.client.arguments import durability_named, level_named
from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.console.suggested_commands import typed_key
from ringmill.client.cli.kv import kv_write
from ringmill.client.cli.kv.kv_arguments import key_of, keyspace_option
from ringmill.client.cli.kv.session_file import session_option
from ringmill.client.kv import touch as send_touch
from ringmill.client.kv_requests import touch_options
from ringmill.cluster.errors import InvalidArgument

__all__ = ["touch"]


@click.command()
@click.argument("key")
@click.option("--ttl", metavar="TIME", help="expire the value after this time, such as 60s, 12h, 30d, 2w")
@click.option("--no-ttl", is_flag=True, help="let the value never expire")
@kv_write.level_option
@kv_write.durability_option
@session_option
@keyspace_option
@click.pass_obj
def touch(
    settings: Settings,
    key: str,
    ttl: str | None,
    no_ttl: bool,
    w: str | None,
    durability: str | None,
    session: str | None,
    keyspace: str,
    is_hex: bool,
) -> None:
    """Give the value of KEY a new time to live, counted from now.

    A key without a value is not found, and one with siblings is refused: put one merged value first.
    """
    name = key_of(key, is_hex)
    if (ttl is None) is not no_ttl:
        raise InvalidArgument(
            "give --ttl TIME or --no-ttl, one of the two",
            hint=f"`ringmill touch --ttl 60s {typed_key(name)}`",
        )
    options = touch_options(
        None if ttl is None else kv_write.ttl_s_of(ttl, name),
        w=None if w is None else level_named(w, "w"),
        durability=None if durability is None else durability_named(durability),
    )
    kv_write.ask_and_show(
        settings,
        "touch",
        name,
        keyspace,
        session,
        lambda space, memory: send_touch(space, name, options, memory),
    )
    output.next_command(settings, f"ringmill get --info {typed_key(name)}")
