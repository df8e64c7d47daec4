"""Rules about words: no two files or public classes of the product have one name; no phrase puzzles a reader.

A search for a name finds one place.  docs/glossary.md has the words and their meanings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tidy_rules.finding import Finding, SourceFile

__all__ = ["class_names", "file_names", "function_names", "phrases"]

PRODUCT = ("cluster", "node", "client")
SHARED_FILES = {
    "__init__.py",  # of every package
    "__main__.py",  # of every package that is a program
    "room.py",  # of every room of a node: how it is opened
}


# Phrases that stop a reader, each with what to write.  In pieces, so that this file does not find itself.
PHRASES = {
    "for " + "good": "permanently",
    "for " + "ever": "forever, without a limit, or cannot be changed later",
    "so " + "many": "this number of, or at this many",
    "longest " + "ago": "oldest first",
    "read " + "nothing": "without a causal context",
    "last " + "words": "the end of its log",
    "as one " + "who": "say what it does",
}
PHRASE = re.compile(r"\b(" + "|".join(PHRASES) + r")\b", re.IGNORECASE)


def phrases(path: Path, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        if found := PHRASE.search(line):
            yield Finding(path, number, f'"{found[0]}" puzzles a reader; write: {PHRASES[found[0].lower()]}')


def file_names(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for source in sources:
        name = source.path.name
        if source.room not in PRODUCT or name in SHARED_FILES:
            continue
        if first.setdefault(name, source.path) != source.path:
            what = f"a second file {name}, beside {first[name]}; name each after its own idea"
            yield source.finding(1, what)


def class_names(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for source in sources:
        if source.room not in PRODUCT:
            continue
        for node in source.tree.body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            if first.setdefault(node.name, source.path) != source.path:
                what = f"a second class {node.name}, beside {first[node.name]}"
                yield source.finding(node.lineno, f"{what}; one word, one idea (docs/glossary.md)")


def function_names(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    first: dict[str, Path] = {}
    for source in sources:
        if source.room not in PRODUCT:
            continue
        for node in source.tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_named_for_others(node):
                continue
            if first.setdefault(node.name, source.path) != source.path:
                what = f"a second function {node.name}, beside {first[node.name]}"
                yield source.finding(node.lineno, f"{what}; say what this one does that the other does not")


def _is_named_for_others(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A private function, the entry of a program, or a verb, which users know by its name."""
    is_verb = any("click.command" in ast.unparse(each) for each in node.decorator_list)
    return node.name.startswith("_") or node.name == "main" or is_verb
