"""The rules of the protocol: docs/protocol/ states each under a heading with its id, code cites the id.

A citation needs a heading, and a heading somebody who cites it.  What a page names as file has to be there,
a file where a rule is obeyed has to cite it, an ablation and a rule that it shows name each other
(tidy_rules/ablations.py), and nobody cites a page that a reader of the
repository does not have.  Citations are looked for in comments and docstrings, and in the prose of Markdown;
ids in data and in names are left alone.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tidy_rules.ablations import Shown, ablations
from tidy_rules.finding import Finding, SourceFile

__all__ = ["protocol"]

LETTERS = "BDEFGHIJLMNOPRSTVW"
"""What rules are numbered under.  C is for the properties that checkers judge: docs/testing.md."""

RULE = re.compile(rf"(?<![\w#.'])[{LETTERS}][1-9][0-9]?(?![\w'])")
HEADING = re.compile(rf"^#{{2,4}} ([{LETTERS}][1-9][0-9]?): (.+)$")
PLANNED = re.compile(r"\bplanned\b", re.IGNORECASE)
SPAN = re.compile(r"`([^`]+)`")
FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)+/?")
SHOWN, OBEYED = "*Shown by:*", "*Obeyed in:*"
# Written in pieces, so that this file does not find itself.
OUTSIDE = re.compile(
    r"\bproto" + r"cols,? (?:section |rules? )?[A-Z]?[0-9]+|\bdesign " + r"pages?\b"
    r"|\b(?:shared|design|research|findings)/[\w./-]*\w\.md\b",
    re.IGNORECASE,
)
PAGE = re.compile(r"(?<![\w/.}-])\w+\.md\b")
COMMENT_MARKS = {".proto": "//", ".toml": "#", ".sh": "#", ".yml": "#", ".cfg": "#"}

Lines = list[tuple[int, str]]
Cites = Mapping[Path, set[str]]


def protocol(root: Path, texts: Mapping[Path, str], sources: Sequence[SourceFile]) -> Iterator[Finding]:
    """Everything about rules and their citations, in files given by their path from `root`."""
    parsed = {source.path: source for source in sources}
    pages = {path: _prose(text) for path, text in texts.items() if path.suffix == ".md"}
    code = {path: _said(path, text, parsed.get(path)) for path, text in texts.items() if path.suffix != ".md"}
    stated = [
        (path, number, found)
        for path, lines in pages.items()
        if _is_protocol(path)
        for number, line in lines
        if (found := HEADING.match(line))
    ]
    known = {found[1] for _, _, found in stated}
    cites = {path: {rule for _, line in lines for rule in RULE.findall(line)} for path, lines in code.items()}
    yield from _headings(stated, set().union(*cites.values()))
    for path, lines in {**code, **pages}.items():
        yield from _citations(path, lines, known)
    for path, lines in code.items():
        yield from _bare_pages(root, path, lines)
    for path in pages:
        if _is_protocol(path):
            yield from _evidence(root, path, texts[path], cites)
    shown = [each for path in pages if _is_protocol(path) for each in _shown(path, texts[path])]
    yield from ablations(texts, known, shown)


def _headings(stated: list[tuple[Path, int, re.Match[str]]], cited: set[str]) -> Iterator[Finding]:
    seen: dict[str, Path] = {}
    for path, number, found in stated:
        rule = found[1]
        if rule in seen:
            yield Finding(path, number, f"states {rule}, which {seen[rule]} states too; number it anew")
        seen[rule] = path
        if rule not in cited and not PLANNED.search(found[2]):
            what = f"nothing cites {rule}; cite it where it is obeyed, or say that it is planned"
            yield Finding(path, number, what)


def _citations(path: Path, lines: Lines, known: set[str]) -> Iterator[Finding]:
    for number, line in lines:
        if found := OUTSIDE.search(line):
            what = f'cites "{found[0]}", which is outside the repository; cite a rule or a page of docs/'
            yield Finding(path, number, what)
        for rule in RULE.findall(_without_spans(line) if path.suffix == ".md" else line):
            if rule not in known:
                yield Finding(path, number, f"cites rule {rule}, which docs/protocol does not state")


def _bare_pages(root: Path, path: Path, lines: Lines) -> Iterator[Finding]:
    """Code names a page by its path from the root."""
    if path.parts[0] == "tests":
        return
    for number, line in lines:
        for page in PAGE.findall(line):
            if not (root / page).is_file():
                yield Finding(
                    path, number, f"cites {page}, which is not there; name it by its path from the root"
                )


def _evidence(root: Path, path: Path, text: str, cites: Cites) -> Iterator[Finding]:
    """Files that a page names, and those where a rule is obeyed."""
    for number, rule, paragraph, name in _named(text):
        if FILE.fullmatch(name):
            if not (root / name).exists():
                yield Finding(path, number, f"names {name}, which is not there")
            elif paragraph.startswith(OBEYED) and rule not in cites.get(Path(name), ()):
                yield Finding(path, number, f"says that {name} obeys {rule}, which does not cite it")


def _shown(path: Path, text: str) -> Iterator[Shown]:
    """The ablations that a page names."""
    for number, rule, paragraph, name in _named(text):
        if paragraph.startswith(SHOWN) and not FILE.fullmatch(name):
            yield Shown(path, number, rule, name)


def _named(text: str) -> Iterator[tuple[int, str, str, str]]:
    """What stands between back quotes: its line, the rule and the paragraph that it is in."""
    rule = paragraph = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := HEADING.match(line):
            rule = heading[1]
        if not line.strip():
            paragraph = ""
        paragraph = paragraph or line
        for name in SPAN.findall(line):
            yield number, rule, paragraph, name


def _is_protocol(path: Path) -> bool:
    return path.parts[:2] == ("docs", "protocol")


def _said(path: Path, text: str, source: SourceFile | None) -> Lines:
    """What code says to its readers: comments and docstrings, by line."""
    if path.suffix == ".py":
        return _said_in_python(source) if source else []  # tidy says elsewhere what does not parse
    mark = COMMENT_MARKS.get(path.suffix, "#" if path.name == "Makefile" else "")
    if not mark:
        return []
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line.partition(mark)[2]) for number, line in lines if mark in line]


def _said_in_python(source: SourceFile) -> Lines:
    text = source.text
    if not any(pattern.search(text) for pattern in (RULE, OUTSIDE, PAGE)):
        return []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except tokenize.TokenError:
        return []
    said = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    for node in source.nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and _is_text(node.value):
            first, last = node.lineno, node.end_lineno or node.lineno
            said += enumerate(text.splitlines()[first - 1 : last], start=first)
    return sorted(said)


def _is_text(constant: ast.Constant) -> bool:
    return isinstance(constant.value, str)


def _prose(text: str) -> Lines:
    """The lines of a page outside fenced and indented code."""
    lines: Lines = []
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            lines.append((number, line))
    return lines


def _without_spans(line: str) -> str:
    return SPAN.sub("", line)
