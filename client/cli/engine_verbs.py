"""`ringmill engine inspect|verify|dump`: checks the arguments and starts `python -m ringmill.node.storage`.

The command line may not import the node, and the storage engine does not know click, so another program
opens the files.
"""

from __future__ import annotations

import click

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.lazy import NO_CLUSTER, LazyGroup, Verb
from ringmill.client.cli.programs import become

__all__ = ["dump", "engine", "inspect", "verify"]


engine = LazyGroup(
    "engine",
    {
        "inspect": Verb(
            "ringmill.client.cli.engine_verbs:inspect", "show tables by level, logs and drops", NO_CLUSTER
        ),
        "verify": Verb(
            "ringmill.client.cli.engine_verbs:verify", "check every block of every file", NO_CLUSTER
        ),
        "dump": Verb(
            "ringmill.client.cli.engine_verbs:dump",
            "print every record of a log, table or manifest",
            NO_CLUSTER,
        ),
    },
    "Look into the files of a node's storage.  These verbs only read, so the node may be running.",
)


@click.command()
@click.argument("folder", type=click.Path())
@click.pass_obj
def inspect(settings: Settings, folder: str) -> None:
    """Show the manifest, tables by level, logs, drops and unreadable parts of FOLDER (DATA/store)."""
    _become(settings, "inspect", folder)


@click.command()
@click.argument("folder", type=click.Path())
@click.pass_obj
def verify(settings: Settings, folder: str) -> None:
    """Check every block of every file in FOLDER (DATA/store).  Exits with 1 when one is damaged."""
    _become(settings, "verify", folder)


@click.command()
@click.argument("file", type=click.Path())
@click.pass_obj
def dump(settings: Settings, file: str) -> None:
    """Print every record of FILE, which is a log, a table or a manifest."""
    _become(settings, "dump", file)


def _become(settings: Settings, verb: str, path: str) -> None:
    form = "json" if settings.output == "json" else "table"
    become("ringmill.node.storage", ["-o", form, verb, "--", path])
