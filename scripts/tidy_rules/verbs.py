"""A command line that a text tells the reader to type names verbs that are there.

The verbs are read from the tables of client/cli/ (`LazyGroup("cluster", {"up": Verb(…), …})`); the table of
the program itself is the one of the group `ringmill`.  Command lines are looked for between backticks, in
error hints and docstrings as in Markdown, and at the start of the lines of a Markdown page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tidy_rules.finding import Finding, SourceFile

__all__ = ["unknown_verbs"]

PROGRAM = "ringmill"
TABLES = "client/cli"
LINE = re.compile(rf"`{PROGRAM} ([^`\n]+)")
START = re.compile(rf"^\s*(?:\$ )?{PROGRAM} (\S.*)")
WORD = re.compile(r"[a-z][a-z-]*(?=$|[.,;:)`])")
VALUED = {"--cluster", "--endpoints", "--output", "--timeout", "--tls-ca", "--token-file", "-o"}

Verbs = Mapping[str, set[str]]


def unknown_verbs(sources: Sequence[SourceFile], texts: Mapping[Path, str]) -> Iterator[Finding]:
    """Every command line outside tests/ that the program would refuse for its verb."""
    verbs = {name: found for source in sources if source.is_in(TABLES) for name, found in _tables(source)}
    if PROGRAM not in verbs:
        return
    for path, text in texts.items():
        if path.parts[0] == "tests":
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            typed = LINE.findall(line) + (START.findall(line) if path.suffix == ".md" else [])
            for words in typed:
                if problem := _problem(words.split(), verbs):
                    yield Finding(path, number, f"`{PROGRAM} {words}`: {problem}")


def _tables(source: SourceFile) -> Iterator[tuple[str, set[str]]]:
    for node in source.nodes:
        match node:
            case ast.Call(args=[ast.Constant(value=str(name)), ast.Dict(keys=keys), *_]):
                yield name, {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def _problem(words: list[str], verbs: Verbs) -> str:
    """What is wrong with a command line, "" when nothing is or nothing can be said."""
    group = PROGRAM
    while words and group in verbs:
        word = words.pop(0)
        if word.startswith("-"):
            del words[: word in VALUED]
            continue
        found = WORD.match(word)
        if found is None:  # a placeholder, or several verbs at once
            return ""
        if found[0] not in verbs[group]:
            return f"{group} has no verb {found[0]}; its verbs are {', '.join(sorted(verbs[group]))}"
        group = found[0] if group == PROGRAM else ""  # `node config` is not the group `config`
    return ""
