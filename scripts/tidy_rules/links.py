"""Dead links in Markdown: files that are not there, headings that are not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tidy_rules.finding import Finding

__all__ = ["anchors", "dead_citations", "dead_links"]

LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
CITATION = re.compile(r"\b(docs/[\w/.-]+\.md)(?:, \"([^\"]+)\")?")
OUTSIDE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def dead_links(root: Path, path: Path, text: str) -> Iterator[Finding]:
    """Relative links whose file or anchor is missing; links out of the project are not followed."""
    for number, line in _prose(text):
        for found in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            target = found[1]
            if OUTSIDE.match(target):
                continue
            if problem := _problem(root, path, target):
                yield Finding(
                    path, number, f"dead link {target}: {problem}; correct it or write what it promises"
                )


def dead_citations(root: Path, path: Path, text: str) -> Iterator[Finding]:
    """A page of docs/ that code cites as its source, perhaps with a heading, must be there and have it."""
    if path.parts[0] == "tests":
        return
    for number, line in enumerate(text.splitlines(), start=1):
        for page, heading in CITATION.findall(line):
            if not (root / page).is_file():
                yield Finding(path, number, f"cites {page}, which is not there; write it or cite another")
            elif heading and slug(heading) not in anchors((root / page).read_text(encoding="utf-8")):
                yield Finding(path, number, f'cites "{heading}" of {page}, which has no such heading')


def _problem(root: Path, path: Path, target: str) -> str:
    name, _, anchor = target.partition("#")
    file = (root / path).parent / name if name else root / path
    if not file.exists():
        return "no such file"
    if not file.resolve().is_relative_to(root.resolve()):
        return "it leaves the project"
    if anchor and file.suffix == ".md" and anchor not in anchors(file.read_text(encoding="utf-8")):
        return f"no heading #{anchor}"
    return ""


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes from the headings of a page."""
    made: set[str] = set()
    for _, line in _prose(text):
        if heading := HEADING.match(line):
            name = slug(heading[1])
            count = sum(1 for other in made if re.fullmatch(re.escape(name) + r"(-\d+)?", other))
            made.add(f"{name}-{count}" if count else name)
    return made


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines outside fenced code."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line
