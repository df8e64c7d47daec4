"""Command groups whose verbs are imported when they are used, not when help is printed.

A group is a table: verb -> (module:attribute, one line of help).  `ringmill get` loads what get needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from client.cli.settings import global_options

__all__ = ["LazyGroup", "Passthrough"]


class Passthrough(click.Command):
    """A verb that hands all its arguments, flags included, to another program."""

    ignore_unknown_options = True
    allow_extra_args = True

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return list(self.params)  # --help is the other program's, too


class LazyGroup(click.Group):
    """A group over a table of verbs; every verb also takes the global flags."""

    def __init__(self, name: str, verbs: Mapping[str, tuple[str, str]], summary: str) -> None:
        super().__init__(name, help=summary, params=[*global_options()], no_args_is_help=True)
        self._verbs = dict(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        if not isinstance(command, LazyGroup | Passthrough):
            present = {option.name for option in command.params}
            command.params.extend(one for one in global_options() if one.name not in present)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in self._verbs.items()])
