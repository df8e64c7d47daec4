"""`ringmill auth rotate-secret`: another secret for the cluster, in two steps, while it serves."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.connecting import open_client, tls_of_settings
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import token_path
from ringmill.cluster.access.client_token import PREFIX
from ringmill.cluster.errors import InvalidArgument

if TYPE_CHECKING:
    from ringmill.client.local.secret_rotation import SecretRotation

__all__ = ["rotate_secret"]

_WITHIN_S: Final = 15.0


@click.command("rotate-secret")
@click.option("--finish", is_flag=True, help="refuse the former secret, once all clients have the new one")
@click.pass_obj
def rotate_secret(settings: Settings, finish: bool) -> None:
    """Change the secret in the cluster's token file, while the cluster serves.

    Between `rotate-secret` and `rotate-secret --finish` both secrets open the cluster.  The file is that of
    the local cluster, or the one of --token-file: then copy it to all hosts when this verb asks for it.
    """
    with ExitStack() as stack:
        if settings.token_file:
            path, away = settings.token_file, set[str]()
        else:
            path, away = _of_local_cluster(settings, stack)
        text = asyncio.run(_carry_out(settings, path, away, finish=finish))
    output.fields(
        settings,
        {"file": path, "former_is_accepted": not finish, "members": text},
        [("file", path), ("members", " ".join(text)), ("former", "refused" if finish else "accepted, too")],
    )
    if not finish:
        again = f"--token-file {path} " if settings.token_file else ""
        output.advise(
            settings, "clients that read the file follow by themselves; give others the first line of it"
        )
        output.advise(settings, f"then:  ringmill {again}auth rotate-secret --finish")


def _of_local_cluster(settings: Settings, stack: ExitStack) -> tuple[str, set[str]]:
    """The token file of the chosen local cluster, whose processes nobody else changes meanwhile, and its
    nodes that do not run.  Raises InvalidArgument, NotFound."""
    if settings.endpoints and "cluster" not in settings.given:
        raise InvalidArgument(
            "the secret of nodes that --endpoints names is in files of their hosts",
            hint="name a copy of their token file with --token-file; it is rewritten, for you to copy back",
        )
    local_cluster.required_cluster(settings.cluster_folder)
    stack.enter_context(local_cluster.exclusively(settings.cluster_folder))
    cluster = local_cluster.required_cluster(settings.cluster_folder)
    stopped = {node.id for node in cluster.nodes if local_cluster.node_state(node) == "stopped"}
    return token_path(cluster.folder), stopped


async def _carry_out(settings: Settings, path: str, away: set[str], *, finish: bool) -> list[str]:
    """Take the step; the members that follow it."""
    rotation = await _rotation(settings, path, away)
    await (rotation.finish() if finish else rotation.begin())
    return list(rotation.members)


async def _rotation(settings: Settings, path: str, away: set[str]) -> SecretRotation:
    from ringmill.client.connection import cluster_token_of
    from ringmill.client.local.secret_rotation import SecretRotation

    async with open_client(replace(settings, token_file=path)) as db:
        if cluster_token_of(db).startswith(PREFIX):
            raise InvalidArgument(f"{path} holds the token of a client, and not the cluster's")
        members = {str(name): at for name, at in db.topology.addresses().items()}
    within_s = settings.timeout or _WITHIN_S
    tls = tls_of_settings(settings)
    return SecretRotation(path, members, within_s, away=away, tls=tls, tell=output.note)
