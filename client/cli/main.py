"""`ringmill`: finds the verb, runs it, and turns every ending into an exit code.

Verbs live in a file a group and are imported on use (client/cli/lazy.py).  No verb calls exit: it returns an
ExitCode or raises; the table of codes is client/cli/exit_codes.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from client.cli import exit_codes, failures
from client.cli.exit_codes import ExitCode
from client.cli.lazy import LazyGroup
from client.cli.settings import Settings
from cluster.errors import InvalidArgument, RingmillError

__all__ = ["main", "ringmill"]

SETTINGS_FILES = (os.path.expanduser("~/.config/ringmill/config.toml"), "ringmill.toml")

ringmill = LazyGroup(
    "ringmill",
    {
        "cluster": ("client.cli.cluster:cluster", "start, look at and disturb a local cluster"),
        "put": ("client.cli.kv_write:put", "write a value"),
        "get": ("client.cli.kv_read:get", "read a key"),
        "delete": ("client.cli.kv_write:delete", "write a tombstone"),
        "locate": ("client.cli.kv_read:locate", "show where a key lives and what each owner holds"),
        "job": ("client.cli.job:job", "run MapReduce jobs on the nodes"),
        "demo": ("client.cli.demo:demo", "a guided tour that checks its own claims"),
        "node": ("client.cli.programs:node", "run one node in the foreground"),
        "engine": ("client.cli.programs:engine", "look into a node's storage"),
        "simulate": ("client.cli.programs:simulate", "run a whole cluster in the simulator"),
        "version": ("client.cli.programs:version", "print the version"),
    },
    "A leaderless key-value store and a MapReduce engine on the same nodes.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code is the answer."""
    settings = Settings()
    try:
        settings = Settings.gathered(os.environ, SETTINGS_FILES)
        for warning in settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        code = _run(list(sys.argv[1:] if arguments is None else arguments), settings)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()
        return ExitCode.DONE
    except RingmillError as error:
        return _failed(error, settings)
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except OSError as error:
        return _failed(RingmillError(str(error), hint="see the name and the reason above"), settings)
    return code


def _run(arguments: list[str], settings: Settings) -> ExitCode:
    try:
        with ringmill.make_context("ringmill", arguments, obj=settings) as context:
            result = ringmill.invoke(context)
    except click.exceptions.NoArgsIsHelpError as shown:
        shown.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        return _misused(error, settings)
    except click.exceptions.Exit as ending:
        return ExitCode(ending.exit_code)
    return result if isinstance(result, ExitCode) else ExitCode.DONE


def _misused(error: click.ClickException, settings: Settings) -> ExitCode:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ringmill"
    told = InvalidArgument(error.format_message(), hint=f"`{path} --help` lists what it takes")
    failures.tell(told, ExitCode.USAGE, settings)
    return ExitCode.USAGE


def _failed(error: RingmillError, settings: Settings) -> ExitCode:
    code = exit_codes.of(error)
    failures.tell(error, code, settings)
    if settings.debug:
        import traceback

        traceback.print_exception(error)
    return code


def _abandon_stdout() -> None:
    """The reader went away: let the interpreter's last flush go nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
