"""Asks for a word typed in full before something that cannot be taken back."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from ringmill.client.cli.console import output
from ringmill.client.cli.console.settings import Settings
from ringmill.cluster.errors import InvalidArgument

__all__ = ["ask_to_type"]


def ask_to_type(
    settings: Settings, story: Iterable[str], *, word: str, to: str, yes: bool, refusal: InvalidArgument
) -> None:
    """Show what it costs, and go on only if the user types `word`; `yes` does not ask.

    It all goes to stderr: the answer alone is on stdout.  Raises `refusal`, also when nobody is there to ask.
    """
    may_ask = not yes and sys.stdin is not None and sys.stdin.isatty()
    if may_ask or settings.output != "json":  # nobody types a word without knowing what for
        for line in story:
            output.note(line)
    if yes:
        return
    if may_ask:
        print(f"Type {word} to {to}: ", end="", file=sys.stderr, flush=True)
        typed = sys.stdin.readline()
        if not typed.endswith("\n"):  # the end of the input, where nothing went to the next line
            output.note("")
        if typed.strip() == word:
            return
    raise refusal
