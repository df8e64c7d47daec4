"""`ringmill engine inspect|verify|dump`: what they take; the work is ringmill.node.storage's own program.

The storage engine stands alone and knows no click, and the command line reaches into no node: so a checked
line is handed to `python -m ringmill.node.storage`, which opens the files.
"""

from __future__ import annotations

import click

from ringmill.client.cli.frame.settings import Settings
from ringmill.client.cli.lazy import LazyGroup, Verb
from ringmill.client.cli.programs import become

__all__ = ["dump", "engine", "inspect", "verify"]

NO_CLUSTER = "cluster endpoints timeout token_file"

engine = LazyGroup(
    "engine",
    {
        "inspect": Verb(
            "ringmill.client.cli.engine_verbs:inspect", "tables by level, logs, what is dropped", NO_CLUSTER
        ),
        "verify": Verb(
            "ringmill.client.cli.engine_verbs:verify", "check every block of every file", NO_CLUSTER
        ),
        "dump": Verb(
            "ringmill.client.cli.engine_verbs:dump", "every record of one log, table or manifest", NO_CLUSTER
        ),
    },
    "Look into the files of a node's storage; reads only, also while the node runs.",
)


@click.command()
@click.argument("folder", type=click.Path())
@click.pass_obj
def inspect(settings: Settings, folder: str) -> None:
    """Show the manifest, tables by level, logs, and what is dropped or unreadable in FOLDER (DATA/store)."""
    _become(settings, "inspect", folder)


@click.command()
@click.argument("folder", type=click.Path())
@click.pass_obj
def verify(settings: Settings, folder: str) -> None:
    """Check every block of every file in FOLDER (DATA/store).  Exits 1 when one is damaged."""
    _become(settings, "verify", folder)


@click.command()
@click.argument("file", type=click.Path())
@click.pass_obj
def dump(settings: Settings, file: str) -> None:
    """Show every record of FILE: one log, table or manifest."""
    _become(settings, "dump", file)


def _become(settings: Settings, verb: str, path: str) -> None:
    form = "json" if settings.output == "json" else "table"
    become("ringmill.node.storage", ["-o", form, verb, "--", path])
