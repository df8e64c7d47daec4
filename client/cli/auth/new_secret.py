"""`ringmill auth new-secret FILE`: the secret of a cluster that is to be formed, in a file of its own."""

from __future__ import annotations

import contextlib
import os

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.local.local_state import new_secret
from ringmill.cluster.adapters.files.private_files import open_private
from ringmill.cluster.errors import Conflict

__all__ = ["make_secret"]


@click.command("new-secret")
@click.argument("file")
@click.pass_obj
def make_secret(settings: Settings, file: str) -> None:
    """Write a random secret to FILE, which only you can read; a file that is there is left as it is.

    All nodes of a cluster get this file, by --token-file.  `cluster up` makes one by itself.
    """
    try:
        handle = open_private(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        raise Conflict(
            f"{file} is there already, and may be the secret of a cluster",
            hint="name another file; `ringmill auth rotate-secret` changes the secret of a cluster that runs",
        ) from None
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(new_secret())
            made.flush()
            os.fsync(made.fileno())
    except BaseException:  # one that is empty would be taken for a cluster's the next time
        with contextlib.suppress(OSError):
            os.unlink(file)
        raise
    output.fields(settings, {"file": file}, [("file", file)])
    output.advise(
        settings, f"copy it to each host, and start nodes:  ringmill node run --token-file {file} ..."
    )
