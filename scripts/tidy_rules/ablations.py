"""Ablations and the rules of the protocol name each other.

A page of docs/protocol/ says under *Shown by* which ablations show a rule; an ablation says the same in its
`rules`.  Both have to say the same.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidy_rules.finding import Finding

__all__ = ["Shown", "ablations"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of a page: this ablation shows that rule."""

    path: Path
    line: int
    rule: str
    ablation: str


@dataclass(frozen=True, slots=True)
class _Ablation:
    path: Path
    line: int
    rules: tuple[str, ...]


def ablations(texts: Mapping[Path, str], known: set[str], pages: Sequence[Shown]) -> Iterator[Finding]:
    """`known` are the rules that pages state, `pages` what they say of ablations."""
    there = {
        name: found
        for path, text in texts.items()
        if path.suffix == ".py" and "simulator" in path.parts
        for name, found in _ablations_in(path, text)
    }
    said = {(shown.rule, shown.ablation) for shown in pages}
    for shown in pages:
        name, rule = shown.ablation, shown.rule
        if name not in there:
            what = f"names the ablation {name}, which simulator/ does not have"
            yield Finding(shown.path, shown.line, what)
        elif rule not in there[name].rules:
            yield Finding(shown.path, shown.line, f"says that {name} shows {rule}, the ablation does not")
    for name, found in there.items():
        for rule in found.rules:
            if rule not in known:
                what = f"the ablation {name} shows {rule}, which docs/protocol does not state"
                yield Finding(found.path, found.line, what)
            elif (rule, name) not in said:
                what = f"the ablation {name} shows {rule}, whose page does not name it"
                yield Finding(found.path, found.line, what)
        if not found.rules:
            yield Finding(found.path, found.line, f"the ablation {name} shows no rule")


def _ablations_in(path: Path, text: str) -> Iterator[tuple[str, _Ablation]]:
    if not re.search(r"\bAblation\(", text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Ablation":
            rules = next((each.value for each in node.keywords if each.arg == "rules"), None)
            named = tuple(_literals(rules.elts if isinstance(rules, ast.Tuple) else []))
            for name in _literals(node.args[:1]):
                yield name, _Ablation(path, node.lineno, named)


def _literals(nodes: Sequence[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant):
            yield str(node.value)
