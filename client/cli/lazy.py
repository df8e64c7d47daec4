"""Command groups that import a verb when it is used, not when help is printed or a shell completes.

A group is a table: verb -> its module, one line of help, and the global settings that mean nothing to it.
`ringmill get` loads what get needs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

import click
from click.shell_completion import CompletionItem

from ringmill.client.cli.console import standard_streams
from ringmill.client.cli.console.global_options import check_given, global_options
from ringmill.client.cli.console.suggested_commands import TO_A_CLUSTER
from ringmill.client.cli.near_misses import did_you_mean

__all__ = ["NO_CLUSTER", "NO_NODE", "LazyGroup", "Passthrough", "Verb"]

NO_NODE = "token_file tls_ca tls_cert tls_key"
"""Settings that mean nothing to a verb which talks to no node, or knows by itself what its nodes want."""

NO_CLUSTER = f"cluster endpoints timeout {NO_NODE}"
"""Settings that mean nothing to a verb which asks no cluster."""


class Verb(NamedTuple):
    """A verb ("module:attribute"), a line of help, and two lists of settings, separated by spaces.

    `refused` settings mean nothing to the verb.  Help leaves them out, and also the `hidden` ones, which the
    verb itself refuses.
    """

    home: str
    summary: str
    refused: str = ""
    hidden: str = ""


class Passthrough(click.Command):
    """A verb that hands all its arguments, flags included, to another program."""

    ignore_unknown_options = True
    allow_extra_args = True

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return list(self.params)  # --help is the other program's, too


class LazyGroup(click.Group):
    """A group over a table of verbs; every verb also takes the global flags."""

    def __init__(self, name: str, verbs: Mapping[str, Verb], summary: str) -> None:
        super().__init__(
            name,
            help=summary,
            params=[*global_options()],
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        self._verbs = dict(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name].home.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        if not isinstance(command, LazyGroup | Passthrough):
            verb = self._verbs[cmd_name]
            options = global_options(verb.refused.split(), verb.hidden.split())
            present = {option.name for option in command.params}
            command.params.extend(one for one in options if one.name not in present)
        return command

    def refused_by(self, words: Sequence[str]) -> Collection[str] | None:
        """The settings that mean nothing to the verb that `words` begin with; None if there is no such verb.

        To a group of verbs only --cluster is given, as not all of them take the others.
        """
        verb = self._verbs.get(words[0]) if words else None
        if verb is None:
            return None
        refused = {*verb.refused.split(), *verb.hidden.split()}
        module, _, attribute = verb.home.partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, LazyGroup):
            inner = command.refused_by(words[1:])
            refused.update({*TO_A_CLUSTER} - {"cluster"} if inner is None else inner)
        return refused

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if word in self._verbs:
            check_given(ctx, self._verbs[word].refused.split(), f"{ctx.command_path} {word}")
            standard_streams.runs(f"{ctx.command_path} {word}")
        elif not word.startswith("-"):
            problem = f"there is no verb {word!r} in `{ctx.command_path}`"
            program = ctx.find_root().command
            verbs_of_program = program._verbs if isinstance(program, LazyGroup) else ()
            meant = did_you_mean(ctx.command_path, word, self._verbs, verbs_of_program)
            raise click.UsageError(f"{problem}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        verbs = [
            CompletionItem(name, help=verb.summary)
            for name, verb in self._verbs.items()
            if name.startswith(incomplete)
        ]
        return [*verbs, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in self._verbs.items()])
