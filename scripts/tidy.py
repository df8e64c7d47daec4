"""The rules of the house that ruff, mypy and import-linter do not know, as a program (part of `make lint`).

    python scripts/tidy.py [FOLDER]     one finding a line, `path:line: what; what to do`; exit 1 if any

Sizes, crowded folders, circles of files, the five doors, errnos, forbidden names, empty packages, named
surfaces, swallowed errors, lost cancellations, bare imports, unused names, stale stubs, dead links in the
documentation, puzzling phrases, rules of the protocol that are cited and not stated, promises that no test
shows.  Each check is a generator in scripts/tidy_rules/; docs/development.md says why it is there.  Generated
stubs (*_pb2*) are left out.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

from tidy_rules import code, doors, links, names, rooms, stubs, unused
from tidy_rules.finding import Finding, SourceFile
from tidy_rules.promises import promises
from tidy_rules.protocol import protocol
from tidy_rules.tree import files_of
from tidy_rules.verbs import unknown_verbs
from tidy_rules.words import class_names, file_names, function_names, phrases

ROOT = Path(__file__).resolve().parent.parent
CODE_RULES = (
    code.sizes,
    code.docstring,
    code.surface,
    code.swallowed_errors,
    code.lost_cancellations,
    doors.doors,
    doors.determinism,
    doors.error_numbers,
    rooms.bare_imports,
)
TREE_RULES = (
    rooms.crowded_folders,
    rooms.circles,
    rooms.long_files,
    unused.unused_names,
    file_names,
    class_names,
    function_names,
)


def findings(root: Path) -> Iterator[Finding]:
    """Everything that is out of order below `root`, in the order of the files."""
    texts: dict[Path, str] = {}
    sources: list[SourceFile] = []
    for path in files_of(root):
        yield from names.file_name(path)
        text = _text(root / path)
        if text is None:
            continue
        texts[path] = text
        yield from names.marks(path, text)
        yield from phrases(path, text)
        if path.suffix == ".md":
            yield from links.dead_links(root, path, text)
        else:
            yield from links.dead_citations(root, path, text)
        if path.suffix == ".py":
            yield from _python(path, text, sources)
    for rule in TREE_RULES:
        yield from rule(sources)
    yield from protocol(root, texts, sources)
    yield from promises(root, texts)
    yield from unknown_verbs(sources, texts)
    yield from stubs.stale_stubs(root)


def _python(path: Path, text: str, sources: list[SourceFile]) -> Iterator[Finding]:
    try:
        source = SourceFile.parse(path, text)
    except SyntaxError as error:
        yield Finding(path, error.lineno or 1, f"does not parse: {error.msg}; repair it")
        return
    sources.append(source)
    for rule in CODE_RULES:
        yield from rule(source)


def _text(path: Path) -> str | None:
    """The file's text, or None for what is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    gc.disable()  # a thousand trees are kept to the end: looking at them again finds no garbage
    found = list(findings(root))
    for finding in found:
        print(finding)
    if found:
        print(f"tidy: {len(found)} findings", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
