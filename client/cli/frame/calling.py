"""Rewrites suggested commands as this user has to type them: the same program name, the same cluster.

Error hints everywhere say "ringmill cluster status".  A user who typed ".venv/bin/ringmill --cluster nc …"
sees ".venv/bin/ringmill --cluster nc cluster status".
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence

from ringmill.client.cli.frame.settings import Settings

__all__ = ["as_typed", "program_name", "typed_key"]

_KEY_VERBS = ("put", "get", "delete", "locate", "scan", "mget", "mput", "explain")
_COMMAND = re.compile(
    rf"(?<![\w./-])ringmill (?=(cluster status|cluster|{'|'.join(_KEY_VERBS)}|job|bench|demo|engine|node"
    r"|simulate|version|help|completion|--help)\b)"
)
_REST = re.compile(r"[^`\n]*")
_TO_A_CLUSTER = ("cluster", *_KEY_VERBS, "job", "bench")
_TO_ENDPOINTS = ("cluster status", *_KEY_VERBS, "job", "bench")


def as_typed(text: str, settings: Settings) -> str:
    """`text` with its commands as this user has to type them."""

    def typed(found: re.Match[str]) -> str:
        rest = _REST.match(text, found.end())
        return f"{program_name()} {_flags(found[1], rest[0] if rest else '', settings)}"

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


def _flags(verb: str, rest: str, settings: Settings) -> str:
    """The flags that lead to the same cluster, unless the `rest` of the command has them."""
    flags, group = "", verb.partition(" ")[0]
    if "cluster" in settings.given - _given_in(rest) and group in _TO_A_CLUSTER:
        flags += f"--cluster {shlex.quote(settings.cluster)} "
    if "endpoints" in settings.given - _given_in(rest) and verb in _TO_ENDPOINTS:
        flags += f"--endpoints {shlex.quote(settings.endpoints)} "
    return flags


def _given_in(command: str) -> set[str]:
    return {name for name in ("cluster", "endpoints") if f"--{name} " in command}


def _found_by_the_shell(called: str) -> bool:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        candidate = os.path.join(folder, "ringmill")
        if folder and os.path.exists(candidate):
            return os.path.exists(called) and os.path.samefile(candidate, called)
    return False
