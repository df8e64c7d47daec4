"""Rules about the tree as a whole: crowded folders, circles of files, the size of a usual file, bare imports.

The folders at the top are installed as one package: `cluster/ids.py` is `ringmill.cluster.ids`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from tidy_rules.finding import Finding, SourceFile, imported

__all__ = ["bare_imports", "circles", "crowded_folders", "long_files"]

PACKAGE = "ringmill"
TOP = ("client", "cluster", "node", "simulator")
FOLDER_FILES = 15
MEDIAN_LINES = 120


def bare_imports(source: SourceFile) -> Iterator[Finding]:
    """`import cluster` works in a checkout and takes whatever a user calls cluster.py everywhere else."""
    for node in source.nodes:
        for name in imported(node):
            top = name.split(".")[0]
            if top in TOP:
                yield source.finding(
                    getattr(node, "lineno", 1), f"imports {name}; write {PACKAGE}.{name}, as it is installed"
                )


def crowded_folders(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    """A folder is read as a whole: what has more files has rooms in it that nobody named."""
    files: dict[Path, int] = defaultdict(int)
    for source in sources:
        files[source.path.parent] += 1
    for folder, number in sorted(files.items()):
        if number > FOLDER_FILES:
            yield Finding(folder, 1, f"{number} files, more than {FOLDER_FILES}; give it sub-folders by idea")


def long_files(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    lengths = [len(source.text.splitlines()) for source in sources if source.room in TOP]
    if lengths and median(lengths) > MEDIAN_LINES:
        what = f"the median file has {median(lengths):g} lines, more than {MEDIAN_LINES}; split by idea"
        yield Finding(Path(TOP[1]), 1, what)


def circles(sources: Sequence[SourceFile]) -> Iterator[Finding]:
    """Files that import each other, directly or through others: none can be read or tested first."""
    modules = {_module(source.path): source for source in sources if source.room in (*TOP, PACKAGE)}
    needs = {name: _needs(source, modules) for name, source in modules.items()}
    for circle in _circles(needs):
        first = modules[circle[0]]
        yield first.finding(1, f"a circle of files: {', '.join(circle)}; move what they share below them")


def _module(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == PACKAGE else [PACKAGE, *parts])


def _needs(source: SourceFile, modules: Mapping[str, SourceFile]) -> list[str]:
    own = _module(source.path)
    found: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    # The package file of the public API loads its names on first use: it needs none of them.
    return sorted(name for name in found if name in modules and name not in (own, PACKAGE))


def _circles(needs: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []

    def visit(name: str) -> Iterator[list[str]]:
        order[name] = lowest[name] = len(order)
        waiting.append(name)
        for other in needs[name]:
            if other not in order:
                yield from visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in waiting:
                lowest[name] = min(lowest[name], order[other])
        if lowest[name] == order[name]:
            start = waiting.index(name)
            circle = sorted(waiting[start:])
            del waiting[start:]
            if len(circle) > 1:
                yield circle

    for name in sorted(needs):
        if name not in order:
            yield from visit(name)
