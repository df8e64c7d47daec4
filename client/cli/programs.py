"""Verbs about the program itself, and verbs that start another program of this distribution."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import click

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.lazy import LazyGroup, Passthrough, Verb
from ringmill.client.local.processes import our_environment
from ringmill.cluster.errors import RingmillError

__all__ = ["become", "completion", "config", "help_about", "node", "reset", "run", "simulate", "version"]

SHELLS = ("bash", "zsh", "fish")


def become(module: str, arguments: Sequence[str]) -> None:
    """Replace this process with `python -m module`, with the same code on its path.

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
    """Run one node in the foreground (python -m ringmill.node)."""
    become("ringmill.node", ctx.args)


@click.command(cls=Passthrough)
@click.pass_context
def config(ctx: click.Context) -> None:
    """Check the settings of a node, and print them (python -m ringmill.node config)."""
    settings = ctx.ensure_object(Settings)
    form = ["-o", settings.output] if "output" in settings.given else []
    become("ringmill.node", ["config", *form, *ctx.args])


@click.command(cls=Passthrough)
@click.pass_context
def reset(ctx: click.Context) -> None:
    """Turn a data folder into that of a new, empty node (python -m ringmill.node reset)."""
    become("ringmill.node", ["reset", *ctx.args])


node = LazyGroup(
    "node",
    {
        "run": Verb(
            "ringmill.client.cli.programs:run",
            "run one node in the foreground",
            "cluster debug endpoints no_color output timeout tls_ca tls_cert tls_key token_file verbose",
        ),
        "config": Verb(
            "ringmill.client.cli.programs:config",
            "check the settings of a node, and print them",
            "cluster debug endpoints no_color timeout tls_ca tls_cert tls_key token_file verbose",
        ),
        "reset": Verb(
            "ringmill.client.cli.programs:reset",
            "turn a data folder into that of a new node; its data is moved aside",
            "cluster debug endpoints no_color output timeout tls_ca tls_cert tls_key token_file verbose",
        ),
    },
    "Run, check or reset a single node.",
)


@click.command(cls=Passthrough)
@click.pass_context
def simulate(ctx: click.Context) -> None:
    """Run a whole cluster in the simulator (python -m ringmill.simulator)."""
    become("ringmill.simulator", [*_flags_before(ctx.ensure_object(Settings)), *ctx.args])


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash   eval "$(ringmill completion bash)"                     in ~/.bashrc
    zsh    eval "$(ringmill completion zsh)"                      in ~/.zshrc, after compinit
    fish   ringmill completion fish | source                      in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from ringmill.client.cli.main import COMPLETING, ringmill

    kind = get_completion_class(shell)
    assert kind is not None
    print(kind(ringmill, {}, "ringmill", COMPLETING).source())


@click.command("help")
@click.argument("verb", nargs=-1)
@click.pass_context
def help_about(ctx: click.Context, verb: tuple[str, ...]) -> None:
    """Show the help of VERB, for example: help cluster up."""
    about, command = ctx.find_root(), ctx.find_root().command
    for word in verb:
        if not isinstance(command, click.Group):
            raise click.UsageError(f"`{about.command_path}` has no verbs of its own", ctx)
        _, found, _ = command.resolve_command(about, [word])
        assert found is not None
        command, about = found, click.Context(found, parent=about, info_name=word)
    if isinstance(command, Passthrough):
        about.args = ["--help"]
        command.invoke(about)
    click.echo(command.get_help(about))


@click.command()
@click.pass_obj
def version(settings: Settings) -> None:
    """Print the version of this distribution and of Python."""
    import platform
    from importlib.metadata import version as version_of

    from ringmill.cluster.adapters.own_version import own_version

    document = {"ringmill": own_version(), "python": platform.python_version(), "grpc": version_of("grpcio")}
    output.fields(settings, document, list(document.items()))


def _flags_before(settings: Settings) -> list[str]:
    """The flags that stood before the verb, for the program that replaces this one."""
    flags = ["-o", settings.output] if "output" in settings.given else []
    others = ("no_color", "verbose", "debug")
    return [*flags, *(f"--{name.replace('_', '-')}" for name in others if name in settings.given)]
