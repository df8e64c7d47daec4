"""Rules about words: no two files, classes or types of the product have one name; no phrase puzzles a reader.

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

# Names of more than one type.  One that has one meaning again goes out.
NAMED_TWICE = {
    "Block", "Change", "Content", "Done", "Durability", "Ended", "Event", "Handler", "Hint", "Instruction",
    "Item", "Kind", "Level", "Load", "Operation", "Pairs", "Place", "Refused", "Role", "Row", "Show",
    "Target", "Value",
}  # fmt: skip

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
# Between two words of a phrase: a space, or the end of a line of prose, of a comment or of a string.
GAP = r"""(?:[ ]|[ \t"]*\n[ \t]*(?:#|//|>|[fr]?"(?!"))?[ \t]*)"""
PATTERNS = {each: re.compile(rf"\b{GAP.join(each.split())}\b", re.IGNORECASE) for each in PHRASES}


def phrases(path: Path, text: str) -> Iterator[Finding]:
    """Finds a phrase also where a line ends in the midst of it, and names the line that it begins on."""
    for phrase, pattern in PATTERNS.items():
        for found in pattern.finditer(text):
            number = text.count("\n", 0, found.start()) + 1
            yield Finding(path, number, f'"{phrase}" puzzles a reader; write: {PHRASES[phrase]}')


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
    """Compares classes and the type aliases of `__all__`; two aliases of the same type may have one name."""
    first: dict[str, tuple[Path, str]] = {}
    for source in sources:
        if source.room not in PRODUCT:
            continue
        surface = _surface(source.tree)
        for node in source.tree.body:
            name, definition = _type_named_by(node)
            is_compared = name in surface if definition else name and not name.startswith("_")
            if not is_compared or name in NAMED_TWICE:
                continue
            path, other = first.setdefault(name, (source.path, definition))
            if path != source.path and not (definition and definition == other):
                what = f"a second {'type' if definition else 'class'} {name}, beside {path}"
                yield source.finding(node.lineno, f"{what}; one word, one idea (docs/glossary.md)")


def _surface(tree: ast.Module) -> list[str]:
    """What `__all__` lists."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names)):
                return [str(each.value) for each in names if isinstance(each, ast.Constant)]
    return []


def _type_named_by(node: ast.stmt) -> tuple[str, str]:
    """The name of the class or type alias that a statement defines, and what an alias stands for."""
    match node:
        case ast.ClassDef(name=name):
            return name, ""
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            return (name, ast.unparse(value)) if ast.unparse(annotation).endswith("TypeAlias") else ("", "")
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() | ast.BinOp() as value):
            return (name, ast.unparse(value)) if not name.isupper() else ("", "")
    return "", ""


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
