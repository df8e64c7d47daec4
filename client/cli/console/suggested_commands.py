"""Rewrites suggested commands as this user has to type them: the same program name, the same cluster.

Error hints everywhere say "ringmill cluster status".  A user who typed ".venv/bin/ringmill --cluster nc …"
sees ".venv/bin/ringmill --cluster nc cluster status".  Flags that mean nothing to a verb are not given to it:
which ones do is in the tables of verbs, which client/cli/main.py sets here.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeAlias

from ringmill.client.cli.console.settings import Settings

__all__ = ["TO_A_CLUSTER", "Refused", "as_typed", "set_verb_table", "program_name", "typed_key"]

TO_A_CLUSTER: Final = ("cluster", "endpoints", "token_file", "tls_ca", "tls_cert", "tls_key")
"""Settings by which a command finds its cluster, and is let in."""

Refused: TypeAlias = Callable[[Sequence[str]], Collection[str] | None]
"""The settings that mean nothing to the verb that these words begin with; None if there is no such verb."""

_COMMAND: Final = re.compile(r"(?<![\w./-])ringmill (?=[a-z]|--(?:help|version)\b)")
_REST: Final = re.compile(r"(?:(?!\bringmill )[^`\n;·])*")
_ENDS: Final = ".,:)'\""


def _no_tables(words: Sequence[str]) -> Collection[str] | None:
    """The table of a program that is not `ringmill`, such as the simulator: its verbs ask no cluster."""
    return TO_A_CLUSTER


_tables: Final[list[Refused]] = [_no_tables]


def set_verb_table(refused: Refused) -> None:
    """Set the table by which verbs of suggested commands are known, once for the program."""
    _tables[:] = [refused]


def as_typed(text: str, settings: Settings) -> str:
    """`text` with its commands as this user has to type them."""

    def typed(found: re.Match[str]) -> str:
        match = _REST.match(text, found.end())
        rest = match[0] if match else ""
        words = [word.rstrip(_ENDS) for word in rest.split()]
        refused = TO_A_CLUSTER if rest.startswith("-") else _tables[0](words)
        if refused is None:
            return found[0]
        return f"{program_name()} {_flags(refused, rest, settings)}"

    return _COMMAND.sub(typed, text)


def program_name(arguments: Sequence[str] = ()) -> str:
    """`ringmill` if the shell would find this program by that name, else the name it was called by.

    `arguments` stand for sys.argv and sys.orig_argv[:1].
    """
    called, interpreter = arguments or (sys.argv[0], sys.orig_argv[0])
    folder, name = os.path.split(called)
    package = os.path.basename(folder) if name == "__main__.py" else ""
    if package == "ringmill":
        return f"{shlex.quote(interpreter)} -m ringmill"
    if package == "simulator":  # this process was `ringmill` before it became another program
        called = os.path.join(os.path.dirname(interpreter), "ringmill")
    elif name != "ringmill":
        return "ringmill"
    if _found_by_the_shell(called) or not os.path.exists(called):
        return "ringmill"
    near = os.path.relpath(called)
    return shlex.quote(near if len(near) < len(called) and not near.startswith("..") else called)


def typed_key(key: bytes) -> str:
    """A key as an argument of a shell: quoted, behind -- when it looks like a flag, else in hexadecimal."""
    text = key.decode("utf-8", "replace")
    if not text.isprintable() or text.encode() != key:
        return f"--hex {key.hex()}"
    return f"-- {shlex.quote(text)}" if text.startswith("-") else shlex.quote(text)


def _flags(refused: Collection[str], rest: str, settings: Settings) -> str:
    """The flags that lead to the same cluster, but for those that mean nothing to the verb or that the `rest`
    of the command has."""
    flags = {name: f"--{name.replace('_', '-')}" for name in TO_A_CLUSTER if name in settings.given}
    return "".join(
        f"{flag} {shlex.quote(getattr(settings, name))} "
        for name, flag in flags.items()
        if name not in refused and f"{flag} " not in rest
    )


def _found_by_the_shell(called: str) -> bool:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = os.path.join(folder, "ringmill")
        if folder and os.path.exists(candidate):
            return os.path.exists(called) and os.path.samefile(candidate, called)
    return False
