"""Verbs that become another program of this distribution, and `version`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import click

from client.cli import output
from client.cli.lazy import LazyGroup, Passthrough
from client.cli.processes import our_environment
from client.cli.settings import Settings
from cluster.errors import RingmillError

__all__ = ["engine", "node", "run", "simulate", "version"]


def _become(module: str, arguments: Sequence[str]) -> None:
    """Replace this process by `python -m module`, with the same code on its path.

    Raises RingmillError when this distribution does not hold such a program.
    """
    if find_spec(f"{module}.__main__") is None:
        raise RingmillError(f"this release has no program {module}", hint="`ringmill --help` lists the verbs")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", module, *arguments], our_environment())  # noqa: S606


@click.command(cls=Passthrough)
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run one node in the foreground (python -m node)."""
    _become("node", ctx.args)


node = LazyGroup(
    "node", {"run": ("client.cli.programs:run", "run one node in the foreground")}, "One node by itself."
)


@click.command(cls=Passthrough)
@click.pass_context
def engine(ctx: click.Context) -> None:
    """Look into a node's storage (python -m node.storage)."""
    _become("node.storage", ctx.args)


@click.command(cls=Passthrough)
@click.pass_context
def simulate(ctx: click.Context) -> None:
    """Run a whole cluster in the simulator (python -m simulator)."""
    _become("simulator", ctx.args)


@click.command()
@click.pass_obj
def version(settings: Settings) -> None:
    """Print the version of this distribution and of Python."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        ours = version_of("ringmill")
    except PackageNotFoundError:
        ours = "unknown"
    document = {"ringmill": ours, "python": platform.python_version(), "grpc": version_of("grpcio")}
    output.fields(settings, document, list(document.items()))
