"""`ringmill auth issue`, `list`, `revoke` and `require`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client
from ringmill.client.cli.console.settings import Settings, seconds

if TYPE_CHECKING:
    from ringmill.client.administration.auth import AsyncAuth, Role

__all__ = ["issue", "list_tokens", "require", "revoke"]

_COLUMNS = ("ID", "NAME", "ROLE", "MADE", "EXPIRES", "STATE")
_ROLES = ("read", "write", "jobs", "admin")
T = TypeVar("T")


@click.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice(_ROLES), required=True,
    help="what it may do: read; write and read; jobs, write and read; or admin, which is all",
)  # fmt: skip
@click.option("--expires", metavar="SPAN", help='how long it is in force, as in "30d"  [forever]')
@click.pass_obj
def issue(settings: Settings, name: str, role: Role, expires: str | None) -> None:
    """Make the token NAME and print it, once: the cluster does not know its secret.

    Give it to its client with --token-file, RINGMILL_TOKEN or token=.
    """
    lifetime_s = None if expires is None else seconds(expires)
    made = _ask(settings, lambda auth: auth.issue(name, role, expires=lifetime_s))
    if settings.output == "json":
        output.show(settings, {**made.info.to_dict(), "token": made.text}, (), ())
        return
    click.echo(made.text)
    output.note(f"token {name} (id {made.info.id}) has the role {role}; keep it, it is not shown again")


@click.command("list")
@click.pass_obj
def list_tokens(settings: Settings) -> None:
    """List the tokens in the order in which they were made, those that are over included."""
    found = _ask(settings, lambda auth: auth.list())
    rows = [
        (each.id, each.name, each.role, _day(each.made), _day(each.expires), each.state)
        for each in found.tokens
    ]
    output.show(settings, [each.to_dict() for each in found.tokens], _COLUMNS, rows)


@click.command()
@click.argument("token")
@click.pass_obj
def revoke(settings: Settings, token: str) -> None:
    """Take its force from the TOKEN of this id, or all of this name, for open sessions, too."""
    info = _ask(settings, lambda auth: auth.revoke(token))
    if settings.output == "json":
        output.show(settings, info.to_dict(), (), ())
    else:
        click.echo(f"{info.name} (id {info.id}) was revoked")


@click.command()
@click.argument("wanted", type=click.Choice(["on", "off", "show"]), default="show")
@click.pass_obj
def require(settings: Settings, wanted: str) -> None:
    """Say whether clients need a token to read and write: on, off, or show what is so.

    It is off at first: then clients without any token may do all but run jobs, issue tokens, and make or
    restore backups.
    """

    async def say(auth: AsyncAuth) -> bool:
        if wanted == "show":
            return (await auth.list()).is_required
        await auth.require(wanted == "on")
        return wanted == "on"

    is_required = _ask(settings, say)
    if settings.output == "json":
        output.show(settings, {"required": is_required}, (), ())
    else:
        click.echo(
            "on: clients need a token" if is_required else "off: clients without a token read and write"
        )


def _ask(settings: Settings, question: Callable[[AsyncAuth], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with open_client(settings) as db:
            return await question(db.auth)

    return asyncio.run(ask())


def _day(at_s: int) -> str | None:
    """A moment as people read it, UTC; None for none."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s)) if at_s else None
