"""Commands that texts for people name: they exist, with the flags that are named."""

from __future__ import annotations

import re

import click

from ringmill.client.cli.main import ringmill

__all__ = ["check_commands"]

_WORD = r"(?:(?:--)?[A-Za-z][A-Za-z0-9-]*|\S*/\S*)"
_TYPED = re.compile(rf"ringmill ({_WORD}(?: {_WORD})*)")


def check_commands(text: str) -> None:
    """Raises AssertionError for a verb or a flag that there is not, and for a flag that is left out and
    needed."""
    for line in _TYPED.findall(text):
        command: click.Command = ringmill
        words = line.split()
        while words and isinstance(command, click.Group):
            context = click.Context(command)
            found = command.get_command(context, words[0])
            assert found is not None, f"ringmill has no verb {line!r}: {text}"
            command, words = found, words[1:]
        assert not isinstance(command, click.Group), f"{line!r} is no whole command: {text}"
        flags = {flag for each in command.params for flag in each.opts}
        assert {word for word in words if word.startswith("--")} <= flags, text
        needed = [each for each in command.params if isinstance(each, click.Option) and each.required]
        assert all({*each.opts} & {*words} for each in needed), f"{line!r} lacks a flag: {text}"
